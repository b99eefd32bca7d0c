"""`auricle status`: which model answers, and is everything there?"""

import dataclasses
import json
from typing import Annotated

import typer
from rich.console import Console

from auricle.cli._session import FAILURE, session
from auricle.cli._tables import status_table


def status(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """Show the model and the state of every service; ends with 1 when one is not ready.

    The JSON object has the fields of auricle.Model: model, fingerprint, context_tokens, max_audio_parts,
    max_audio_bytes, ready, and services with service, ready and detail.

    Examples:

        auricle status
        until auricle status; do sleep 1; done
    """
    with session(context) as client:
        model = client.model()
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(model)))
    else:
        typer.echo(
            f"{model.model}: {'ready' if model.ready else 'not ready'}, {model.context_tokens} tokens of context"
        )
        Console().print(status_table(model))
    if not model.ready:
        raise typer.Exit(FAILURE)
