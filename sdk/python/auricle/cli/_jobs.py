"""`auricle jobs`: tasks over recordings of any length, which go on when the command has ended."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from auricle._job_requests import FORMATS, PRIORITIES, TASKS
from auricle._job_types import JobResult, ResultSegment
from auricle._jobs import Job
from auricle._types import Audio
from auricle.cli._ask import UPLOADED
from auricle.cli._job_bar import job_bar
from auricle.cli._session import FAILURE, session, warn
from auricle.cli._tables import job_table, jobs_table

HELP = """Tasks over recordings of any length. A job goes on when the command has ended.

Examples:

    auricle jobs submit lecture.mp3 --wait
    auricle jobs submit calls/*.wav --task analyze --instruction "What does the caller want?" --label team=red
    auricle jobs result analysisJobs/3f2a --format srt --out lecture.srt
    auricle jobs ask analysisJobs/3f2a "Which exam date is named?"
"""
jobs_app = typer.Typer(no_args_is_help=True, help=HELP)
Name = Annotated[str, typer.Argument(metavar="ID", help="Name of a job, with or without `analysisJobs/`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_PREFIX = "analysisJobs/"


@jobs_app.command()
def submit(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Recordings, `audios/...` names of uploads, URIs, or - for stdin."),
    ],
    task: Annotated[str, typer.Option(help=f"One of {', '.join(TASKS)}.")] = "transcribe",
    instruction: Annotated[str | None, typer.Option("--instruction", "-i", help="What each window is asked.")] = None,
    priority: Annotated[str, typer.Option(help=f"One of {', '.join(PRIORITIES)}.")] = "normal",
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A mark; may be repeated.")] = None,
    ttl_hours: Annotated[float | None, typer.Option(help="How long results are kept; 7 days by default.")] = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Told when the job has ended, if the platform may call it.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end and print the results.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hand in a job for each recording and print its name; with --wait the result.

    With --wait it ends with 1 when a job did not succeed. Ctrl-C leaves the jobs running.
    """
    labels = dict(_pair(mark) for mark in label or [])
    ttl = None if ttl_hours is None else ttl_hours * 3600
    with session(context) as client:
        jobs = [
            client.jobs.create(
                _audio(file),
                task=task,
                instruction=instruction,
                priority=priority,
                labels=labels,
                ttl=ttl,
                webhook_url=webhook,
            )
            for file in files
        ]
        if not wait:
            for job in jobs:
                typer.echo(_json(job) if as_json else job.name)
            return
        ended = [_follow(job, file) for job, file in zip(jobs, files, strict=True)]
        for job in ended:
            _print_result(job, as_json)
    if any(job.state != "succeeded" for job in ended):
        raise typer.Exit(FAILURE)


@jobs_app.command("list")
def list_jobs(
    context: typer.Context,
    filter: Annotated[
        str, typer.Option(help='Terms joined by AND, such as `state = RUNNING` or `labels.team = "red"`.')
    ] = "",
    limit: Annotated[int, typer.Option(help="Most jobs to show.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """Show your jobs, newest first; with --json one a line."""
    with session(context) as client:
        jobs = [job for job, _ in zip(client.jobs.list(filter), range(limit), strict=False)]
    if as_json:
        for job in jobs:
            typer.echo(_json(job))
    else:
        Console().print(jobs_table(jobs))


@jobs_app.command()
def get(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show a job as it stands."""
    with session(context) as client:
        job = client.jobs.get(_full(name))
    if as_json:
        typer.echo(_json(job))
    else:
        Console().print(job_table(job))


@jobs_app.command()
def watch(context: typer.Context, name: Name) -> None:
    """Follow a job to its end and print what it finds while it finds it; ends with 1 when it does not succeed."""
    with session(context) as client:
        job = client.jobs.get(_full(name))
        with job_bar(job.audio) as show:
            for update in client.jobs.watch(job):
                job = update.job
                show(job)
                for segment in update.segments:
                    typer.echo(_line(segment))
    _report_end(job)


@jobs_app.command()
def result(
    context: typer.Context,
    name: Name,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "txt",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """Print what a job found, or write it to a file."""
    with session(context) as client:
        found = client.jobs.result(_full(name), format)
        text = found.file or ""
        if out is None:
            typer.echo(text, nl=False)
        else:
            out.write_text(text, encoding="utf-8")
    _warn_of_holes(found)


@jobs_app.command()
def ask(
    context: typer.Context,
    name: Name,
    question: Annotated[str, typer.Argument(help="The question.")],
    max_output_tokens: Annotated[int | None, typer.Option(help="Most tokens of each answer (1 to 4096).")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask about the recording of a job that has succeeded, and print the answer with the times that support it."""
    with session(context) as client:
        answer = client.jobs.ask(_full(name), question, max_output_tokens=max_output_tokens)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(answer), ensure_ascii=False))
        return
    typer.echo(answer.text)
    for segment in answer.segments:
        if segment.supports_answer:
            typer.echo(f"  {_line(segment)}")
    _warn_of_holes(answer)


@jobs_app.command()
def cancel(context: typer.Context, name: Name) -> None:
    """Stop a job."""
    with session(context) as client:
        client.jobs.cancel(_full(name))


@jobs_app.command()
def delete(context: typer.Context, name: Name) -> None:
    """Remove a job with its audio, embeddings and result."""
    with session(context) as client:
        client.jobs.delete(_full(name))


def _full(name: str) -> str:
    return name if name.startswith(_PREFIX) else _PREFIX + name


def _audio(file: str) -> Any:
    if file == "-":
        return sys.stdin.buffer
    if file.startswith(UPLOADED) and not Path(file).exists():
        return Audio(file)
    return file


def _pair(mark: str) -> tuple[str, str]:
    key, separator, value = mark.partition("=")
    if not separator:
        raise typer.BadParameter(f"a label is KEY=VALUE, not {mark!r}")
    return key, value


def _follow(job: Job, file: str) -> Job:
    with job_bar(file) as show:
        for update in job.watch():
            job = update.job
            show(job)
    return job


def _print_result(job: Job, as_json: bool) -> None:
    if job.state != "succeeded":
        typer.echo(_json(job)) if as_json else None
        warn(f"{job.name} {job.state}" + (f": {job.error.reason}: {job.error.message}" if job.error else ""))
        return
    found = job.result()
    if as_json:
        typer.echo(json.dumps({"job": job.name, **dataclasses.asdict(found)}, ensure_ascii=False))
    elif job.task == "segment":
        for segment in found.segments:
            typer.echo(_line(segment))
    else:
        typer.echo(found.text)
    _warn_of_holes(found)


def _report_end(job: Job) -> None:
    if job.state != "succeeded":
        warn(f"{job.name} {job.state}" + (f": {job.error.reason}: {job.error.message}" if job.error else ""))
        raise typer.Exit(FAILURE)


def _warn_of_holes(found: JobResult) -> None:
    for window in found.failed_windows:
        end = window.start_seconds + window.duration_seconds
        warn(f"{_time(window.start_seconds)} to {_time(end)} has no result: {window.error.message}")
    for sentence in found.warnings:
        warn(sentence)


def _line(segment: ResultSegment) -> str:
    what = " ".join(part for part in (f"[{segment.label}]" if segment.label else "", segment.text) if part)
    return f"{_time(segment.start_seconds)} - {_time(segment.end_seconds)}  {what}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}"


def _json(job: Job) -> str:
    fields = {field.name for field in dataclasses.fields(job)} - {"_jobs"}
    plain = {name: getattr(job, name) for name in sorted(fields)}
    return json.dumps(plain, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value.isoformat()  # type: ignore[arg-type]
