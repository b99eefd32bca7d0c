"""A bar of a job: minutes of audio done, speed against real time, time left."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from auricle._jobs import Job


class _Minutes(ProgressColumn):
    """Minutes done of minutes found so far."""

    def render(self, task: Task) -> Text:
        found = "?" if task.total is None else f"{task.total / 60:.1f}"
        return Text(f"{task.completed / 60:.1f}/{found}{'' if task.fields['prepared'] else '+'} min")


class _Speed(ProgressColumn):
    """Seconds of audio done in a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{speed(task.completed, task.fields['began']):.1f}x real time" if task.completed else "")


def speed(done_seconds: float, began: float) -> float:
    """Seconds of audio done in a second since `began`, a time of time.monotonic."""
    return done_seconds / max(time.monotonic() - began, 1e-3)


@contextmanager
def job_bar(title: str) -> Iterator[Callable[[Job], None]]:
    """A bar on standard error, when that is a terminal; call what it gives with each state of the job."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description} {task.fields[state]}"),
        BarColumn(),
        _Minutes(),
        _Speed(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=None, state="queued", prepared=False, began=time.monotonic())

        def show(job: Job) -> None:
            progress.update(
                task,
                total=job.progress.audio_seconds or None,
                completed=job.progress.finished_seconds,
                state=job.state,
                prepared=job.progress.prepared,
            )

        yield show
