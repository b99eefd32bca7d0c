"""`python -m services.encoder.serve`: Triton over the model volume, in a container.

The volume is only read, and may serve many: configuration lies in a folder of this container's own, whose version is a
link into the volume.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from services.common.settings import load
from services.encoder.ready import REPOSITORY, Ready, find_ready, folder
from services.encoder.repository import MODEL_NAME, EncoderRepository
from services.encoder.settings import EncoderServerSettings
from services.encoder.triton_command import Listening, triton_command

MAX_CONNECTION_AGE_MS = 60_000


def lay_out(ready: Ready, settings: EncoderServerSettings, repository: Path) -> Path:
    """Make Triton's repository of one version, configured by the settings; returns it."""
    served = folder(settings.volume, settings.model) / REPOSITORY / MODEL_NAME / str(ready.version)
    target = repository / MODEL_NAME
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / str(ready.version)).symlink_to(served.absolute())
    EncoderRepository(repository).write_config(settings)
    return repository


def command(settings: EncoderServerSettings, repository: Path) -> list[str]:
    """Triton's command line."""
    # As the other services' servers do (services.common.server), so that callers find Tritons that come.
    further: dict[str, object] = {"grpc-max-connection-age": MAX_CONNECTION_AGE_MS}
    if settings.tls_cert and settings.tls_key:
        further |= {
            "grpc-use-ssl": "true",
            "grpc-server-cert": settings.tls_cert,
            "grpc-server-key": settings.tls_key,
        }
    if settings.tls_client_ca:
        further |= {"grpc-use-ssl-mutual": "true", "grpc-root-cert": settings.tls_client_ca}
    return triton_command(
        settings.triton,
        repository,
        Listening(settings.host, settings.grpc_port, settings.http_port, settings.metrics_port),
        exit_timeout_seconds=int(settings.drain_seconds),
        shared_memory_prefix="auricle-triton-",
        traces_url=settings.traces_url or None,
        gpu_metrics=settings.device == "gpu",
        further=further,
    )


def main() -> int:
    """Become Triton; 1 when the model is not on the volume."""
    settings = load(EncoderServerSettings)
    ready = find_ready(settings.volume, settings.model)
    if ready is None:
        print(
            f"error: {folder(settings.volume, settings.model)} holds no model that is ready for this release; "
            "fill it with: python -m services.encoder.volume fill MODEL VOLUME",
            file=sys.stderr,
        )
        return 1
    repository = lay_out(ready, settings, Path(tempfile.gettempdir()) / "triton-repository")
    arguments = command(settings, repository)
    # Triton is told to stop, and answers for its health, without a process of ours between.
    os.execvp(arguments[0], arguments)


if __name__ == "__main__":
    sys.exit(main())
