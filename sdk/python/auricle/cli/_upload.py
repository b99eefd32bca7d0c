"""`auricle upload` and `auricle delete`: recordings that are sent once and asked about often."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from auricle._upload_messages import Progress as OnProgress
from auricle.cli._session import session


def upload(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The recording, or - for stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Store a recording and print its name.

    The JSON object has the fields of auricle.Audio: name, size_bytes, content_sha256 (hex) and expire_time (ISO 8601).

    Examples:

        name=$(auricle upload interview.flac)
        auricle ask $name --prompt "Who is being interviewed?"
    """
    with session(context) as client, _progress_bar(file) as on_progress:
        audio = client.upload(sys.stdin.buffer if file == "-" else file, on_progress=on_progress)
    typer.echo(json.dumps(dataclasses.asdict(audio), default=lambda time: time.isoformat()) if as_json else audio.name)


def delete(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of an upload, `audios/...`.")],
) -> None:
    """Remove an uploaded recording.

    Example:

        auricle delete audios/3f2a
    """
    with session(context) as client:
        client.delete_audio(name)


@contextlib.contextmanager
def _progress_bar(file: str) -> Iterator[OnProgress]:
    """A bar on standard error, when that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("stdin" if file == "-" else file, total=None)
        yield lambda sent_bytes, total_bytes: progress.update(task, completed=sent_bytes, total=total_bytes)
