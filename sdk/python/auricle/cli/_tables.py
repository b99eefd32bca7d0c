"""Tables for people."""

from collections.abc import Iterable
from datetime import datetime

from rich.table import Table
from rich.text import Text

from auricle._jobs import Job
from auricle._types import Answer, Model, Usage


def usage_table(answer: Answer) -> Table:
    """What went where: service, milliseconds, seconds heard, tokens."""
    usage = answer.usage
    table = Table(title=f"{answer.model}, finish reason: {answer.finish_reason}", title_justify="left")
    table.add_column("service")
    table.add_column("wall ms", justify="right")
    table.add_column("compute ms", justify="right")
    table.add_column("what went through")
    for timing in usage.timings:
        what = _what_went_through(timing.service, usage)
        table.add_row(timing.service, f"{timing.wall_ms:.1f}", f"{timing.compute_ms:.1f}", what)
    table.add_section()
    table.add_row("total", f"{usage.total_ms:.1f}", "", f"first token after {usage.first_token_ms:.1f} ms")
    return table


def _what_went_through(service: str, usage: Usage) -> str:
    match service:
        case "preprocess":
            return f"{usage.audio_received_seconds:.1f} s received, {usage.audio_heard_seconds:.1f} s heard"
        case "encoder":
            return f"{usage.audio_tokens} audio tokens, {usage.cached_tokens} of them cached"
        case "decoder":
            return f"{usage.prompt_tokens} prompt tokens, {usage.output_tokens} output tokens"
    return ""


def status_table(model: Model) -> Table:
    """Each service behind the gateway, ready or not, and why."""
    table = Table("service", "ready", "detail")
    for service in model.services:
        ready = Text("yes", style="green") if service.ready else Text("no", style="bold red")
        table.add_row(service.service, ready, Text(service.detail))
    return table


_STATE_STYLES = {"succeeded": "green", "failed": "bold red", "canceled": "yellow"}


def jobs_table(jobs: Iterable[Job]) -> Table:
    """Jobs, one a row."""
    table = Table("name", "state", "task", "minutes done", "created", "labels")
    for job in jobs:
        labels = ", ".join(f"{key}={value}" for key, value in job.labels.items())
        table.add_row(Text(job.name), _state(job), job.task, _minutes(job), _when(job.create_time), Text(labels))
    return table


def job_table(job: Job) -> Table:
    """Everything about one job."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name in ("name", "task", "instruction", "audio", "priority"):
        table.add_row(name, Text(getattr(job, name)))
    table.add_row("state", _state(job))
    windows = f"{job.progress.finished_windows} of {job.progress.windows} windows"
    table.add_row("done", f"{_minutes(job)} minutes, {windows}")
    for name in ("create_time", "start_time", "end_time", "expire_time"):
        table.add_row(name, _when(getattr(job, name)))
    if job.error:
        table.add_row("error", Text(f"{job.error.reason}: {job.error.message}"))
    for window in job.failed_windows:
        place = f"{window.start_seconds:.1f} s, {window.duration_seconds:.1f} s long"
        table.add_row("no result", Text(f"{place}: {window.error.reason}: {window.error.message}"))
    return table


def _state(job: Job) -> Text:
    return Text(job.state, style=_STATE_STYLES.get(job.state, ""))


def _minutes(job: Job) -> str:
    more = "" if job.progress.prepared or job.ended else "+"
    return f"{job.progress.finished_seconds / 60:.1f}/{job.progress.audio_seconds / 60:.1f}{more}"


def _when(time: datetime | None) -> str:
    return "" if time is None else time.astimezone().isoformat(sep=" ", timespec="seconds")
