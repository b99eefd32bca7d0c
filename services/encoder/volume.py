"""`python -m services.encoder.volume`: fill a cluster's model volume, or wait until it is filled."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from services.common.errors import AuricleError
from services.common.settings import load
from services.encoder.publish import publish, published_version
from services.encoder.ready import CHECKPOINT, READY, REPOSITORY, Ready, folder, wait_ready
from services.encoder.settings import EncoderSettings
from services.qwen2_audio.config import CheckpointError
from services.qwen2_audio.mini import AssemblyError
from services.qwen2_audio.resolve import resolve_checkpoint
from services.qwen2_audio.weights import Checkpoint


def fill(volume: Path, model: str, settings: EncoderSettings) -> Ready:
    """Get the model, publish its encoder and say that both are ready; quick when they are already.

    Args:
        volume: see services.encoder.ready; auricle-mini is assembled into it, and for models of the hub $HF_HOME should
            lie in it.
        model: auricle-mini, a directory (of the volume), or a hub id.
        settings: how Triton serves the encoder unless it is told otherwise when it starts.

    Raises:
        CheckpointError, AssemblyError: there is no such model, or it cannot be read.
        AuricleError: its encoder does not compute what transformers computes, and other reasons not to publish it.
    """
    home = folder(volume, model)
    home.mkdir(parents=True, exist_ok=True)
    checkpoint = resolve_checkpoint(model, volume / "assembled").absolute()
    fingerprint = Checkpoint(checkpoint).fingerprint
    repository = home / REPOSITORY
    version = published_version(repository, fingerprint)
    if version is None:
        version = publish(checkpoint, repository, settings=settings).version
    _link(home / CHECKPOINT, checkpoint)
    ready = Ready(model, fingerprint, version)
    _write(home / READY, json.dumps(asdict(ready)))
    return ready


def _link(link: Path, target: Path) -> None:
    # Relative where it can be: the volume may be mounted elsewhere by the next reader.
    temporary = link.with_name(f".{link.name}-{os.getpid()}")
    temporary.symlink_to(os.path.relpath(target, link.parent))
    temporary.replace(link)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


def main() -> int:
    """Fill the volume or wait until it is filled; 1 and a sentence when that fails."""
    parser = argparse.ArgumentParser(prog="python -m services.encoder.volume", description="A cluster's model volume.")
    parser.add_argument("action", choices=("fill", "wait"))
    parser.add_argument("model", help="auricle-mini, a directory of the volume, or a hub id")
    parser.add_argument("volume", type=Path)
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds to wait (default: %(default)s)")
    given = parser.parse_args()
    try:
        if given.action == "fill":
            ready = fill(given.volume, given.model, load(EncoderSettings))
        else:
            ready = wait_ready(given.volume, given.model, given.timeout)
    except (AuricleError, CheckpointError, AssemblyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{ready.model}: checkpoint {ready.fingerprint[:12]}, encoder version {ready.version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
