"""`auricle ask`: a question about recordings, or a spoken one."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from auricle._audio import MAX_INLINE_BYTES
from auricle._client import Client
from auricle._requests import Generation
from auricle._types import Answer, Audio
from auricle.cli._session import session, warn
from auricle.cli._tables import usage_table

UPLOADED = "audios/"
# Less than this is rounding of the decoder, not sound that went missing.
UNHEARD_SECONDS = 0.1


def ask(
    context: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE...", show_default=False, help="Recordings, `audios/...` names of uploads, or - for stdin."
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="The question; without one the recording itself is answered.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="Sets the assistant's manner.")] = None,
    stream: Annotated[
        bool | None, typer.Option("--stream/--no-stream", help="Print the text as it comes, the default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    show_usage: Annotated[
        bool | None,
        typer.Option("--show-usage/--hide-usage", help="Print what went where, by default on terminals."),
    ] = None,
    max_output_tokens: Annotated[int | None, typer.Option(help="Most tokens to generate (1 to 4096).")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest token, up to 2 samples.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample from the likeliest tokens with this sum.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample from this many likeliest tokens.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="1 to 2, against repetition.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text; may be given several times.")] = None,
    audio_contrast: Annotated[
        float | None, typer.Option(help="0 to 4: lean towards what the audio adds, against invented sounds.")
    ] = None,
    json_schema: Annotated[
        typer.FileText | None, typer.Option(help="Answer in JSON of the schema in this file.")
    ] = None,
    regex: Annotated[str | None, typer.Option(help="Answer with a match of this regular expression.")] = None,
) -> None:
    """Ask about recordings, or talk to the model.

    A recording alone is voice chat: the model answers what is said in it. With --prompt the recording is what the
    question is about. Several recordings belong to one question, in the order given.

    The JSON object has the fields of auricle.Answer: text, finish_reason ("stop", "stop_string" or "length"), model,
    heard (for each recording: received_seconds, heard_seconds, windows, warnings) and usage (tokens, seconds,
    first_token_ms, total_ms, and timings with service, wall_ms and compute_ms).

    Examples:

        auricle ask question.wav
        auricle ask meeting.mp3 --prompt "Who speaks, and what about?" --show-usage
        auricle ask before.wav after.wav -p "What is different in the second?"
        arecord -d 5 -f cd | auricle ask - --json
    """
    if as_json and stream:
        raise typer.BadParameter("--json prints the whole answer at once and cannot go with --stream")
    generation: Generation = {
        "max_output_tokens": max_output_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
        "stop": stop,
        "audio_contrast": audio_contrast,
        "json_schema": None if json_schema is None else json_schema.read(),
        "regex": regex,
    }
    with session(context) as client:
        conversation = _conversation(files or [], prompt, system)
        if stream is False or as_json:
            answer = client.chat(conversation, **generation)
            typer.echo(json.dumps(dataclasses.asdict(answer), ensure_ascii=False) if as_json else answer.text)
        else:
            answer = _print_stream(client, conversation, generation)
    _report(answer, sys.stderr.isatty() if show_usage is None else show_usage)


def _conversation(files: list[str], prompt: str | None, system: str | None) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = [{"type": "audio", "audio": _audio(file)} for file in files]
    if prompt is not None:
        content.append({"type": "text", "text": prompt})
    if not content:
        raise ValueError("nothing to ask: give a FILE, or --prompt, or both")
    turns = [{"role": "system", "content": system}] if system is not None else []
    return [*turns, {"role": "user", "content": content}]


def _audio(file: str) -> str | bytes | Audio:
    if file == "-":
        return sys.stdin.buffer.read(MAX_INLINE_BYTES + 1)
    if file.startswith(UPLOADED) and not Path(file).exists():
        return Audio(file)
    return file


def _print_stream(client: Client, conversation: list[dict[str, Any]], generation: Generation) -> Answer:
    with client.stream_chat(conversation, **generation) as stream:
        end = ""
        try:
            for text in stream:
                typer.echo(text, nl=False)
                end = "\n"
        finally:
            typer.echo(end, nl=False)
        return stream.answer


def _report(answer: Answer, show_usage: bool) -> None:
    for heard in answer.heard:
        if heard.received_seconds - heard.heard_seconds > UNHEARD_SECONDS:
            warn(f"only {heard.heard_seconds:.1f} s of {heard.received_seconds:.1f} s were heard")
        for sentence in heard.warnings:
            warn(sentence)
    if answer.finish_reason == "length":
        warn("the answer was cut at its limit; see --max-output-tokens")
    if show_usage:
        Console(stderr=True).print(usage_table(answer))
