"""The platform's own commands of `auricle`: up, down, model, encoder, keys. Loaded by the SDK's command line."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.common.errors import AuricleError
from services.local import state

DEFAULT_MODEL = "auricle-mini"
Model = Annotated[str, typer.Option(help="auricle-mini, a checkpoint directory, or a hub id.")]
Home = Annotated[Path | None, typer.Option(help="Where the platform keeps its data. [default: $AURICLE_HOME]")]

model_app = typer.Typer(no_args_is_help=True, help="The models that the platform can serve.")
encoder_app = typer.Typer(no_args_is_help=True, help="The encoder's versions in Triton's model repository.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys of the gateway.")


def register(app: typer.Typer) -> None:
    """Add the platform's commands to the command line."""
    app.command()(up)
    app.command()(down)
    app.add_typer(model_app, name="model")
    app.add_typer(encoder_app, name="encoder")
    app.add_typer(keys_app, name="keys")


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Errors that a user can do something about become one line and exit code 1."""
    try:
        yield
    except Exception as error:
        if not _is_for_users(error):
            raise
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _is_for_users(error: Exception) -> bool:
    if isinstance(error, AuricleError | OSError):
        return True
    # It brings transformers along, for which no command should wait that needs none.
    from services.qwen2_audio.config import CheckpointError

    return isinstance(error, CheckpointError)


def up(
    model: Model = DEFAULT_MODEL,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything is ready.")] = False,
    port_base: Annotated[int, typer.Option(help="First port; the others follow it.", min=1024, max=65000)] = 8400,
    threads: Annotated[int, typer.Option(help="CPU threads of the encoder and of the decoder.", min=1)] = min(
        4, os.cpu_count() or 1
    ),
    home: Home = None,
) -> None:
    """Start the whole platform on this machine: Redis, Triton, preprocess, decoder and gateway.

    Ctrl-C stops it. The first start assembles the model and publishes its encoder.
    """
    # torch and transformers take seconds to import: no other command should wait for them.
    from services.local import up as platform
    from services.local.logview import LogView
    from services.local.platform import Ports

    base = home.expanduser().absolute() if home else state.default_home()
    view = LogView(Console(stderr=True))
    with _told_plainly():
        if detach:
            arguments = [f"--model={model}", f"--port-base={port_base}", f"--threads={threads}", f"--home={base}"]
            running = platform.run_detached(arguments, base)
            typer.echo(f"ready at {running.address} (process {running.pid}); stop it with: auricle down")
            return
        ports = Ports.from_base(port_base)
        config = platform.prepare(model, base, ports, threads, view.event)
        platform.run_in_foreground(config, view.line, view.event)


def down(home: Home = None, timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 90.0) -> None:
    """Stop the platform that `auricle up` started from this home."""
    base = home.expanduser().absolute() if home else state.default_home()
    running = state.read(base)
    if running is None:
        typer.echo(f"no platform runs from {base}")
        return
    with _told_plainly():
        running.stop(timeout)
    typer.echo(f"stopped the platform at {running.address}")


@model_app.command("assemble")
def model_assemble() -> None:
    """Assemble auricle-mini from its public parts, every hash checked; prints its directory."""
    from services.qwen2_audio.resolve import resolve_checkpoint

    with _told_plainly():
        typer.echo(resolve_checkpoint(DEFAULT_MODEL))


@model_app.command("info")
def model_info(
    name: Annotated[str, typer.Argument(help="auricle-mini, a directory, or a hub id.")] = DEFAULT_MODEL,
) -> None:
    """Print what a checkpoint is: size, widths, context, fingerprint, as JSON."""
    from services.local.models import describe_checkpoint
    from services.qwen2_audio.resolve import resolve_checkpoint

    with _told_plainly():
        typer.echo(json.dumps(describe_checkpoint(resolve_checkpoint(name)), indent=2))


@encoder_app.command("publish")
def encoder_publish(
    checkpoint: Annotated[str, typer.Argument(help="auricle-mini, a directory, or a hub id.")],
    repository: Annotated[Path, typer.Option(help="Triton's model repository.")] = Path("model_repo"),
    version: Annotated[int | None, typer.Option(help="Version to write; the next free one by default.", min=1)] = None,
) -> None:
    """Write a checkpoint's encoder as a new version, unless its embeddings differ from transformers'."""
    from services.encoder.publish import publish
    from services.qwen2_audio.resolve import resolve_checkpoint

    with _told_plainly():
        published = publish(resolve_checkpoint(checkpoint), repository, version)
        typer.echo(f"version {published.version} in {published.directory}\n{published.report}")


@keys_app.command("create")
def keys_create(
    tenant: Annotated[str, typer.Argument(help="Who the key names: letters, digits, - and _.")],
    file: Annotated[Path, typer.Option(help="The gateway's key file (AURICLE_GATEWAY_API_KEYS_FILE).")],
) -> None:
    """Create an API key, append its hash to the key file and print the key, which is shown this once."""
    from services.common.auth import create_key

    with _told_plainly():
        key, line = create_key(tenant)
        _append(file, line)
        typer.echo(key)


@keys_app.command("webhook-secret")
def keys_webhook_secret(
    tenant: Annotated[str, typer.Argument(help="Whose webhooks are signed with it.")],
    file: Annotated[
        Path, typer.Option(help="The secrets file (AURICLE_GATEWAY_ and AURICLE_WORKER_WEBHOOK_SECRETS_FILE).")
    ],
) -> None:
    """Create a secret that the tenant's webhooks are signed with, append it to the secrets file and print it.

    A tenant may have two at once: add the new one, tell it to the receivers, then remove the old line.
    """
    from services.common.webhook_secrets import create_secret

    with _told_plainly():
        secret, line = create_secret(tenant)
        _append(file, line)
        typer.echo(secret)


def _append(file: Path, line: str) -> None:
    """Add a line to a file that only its owner may read."""
    file.touch(mode=0o600, exist_ok=True)
    with file.open("a") as lines:
        lines.write(line + "\n")
