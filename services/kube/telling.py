"""What a command tells: what it will do before it does it, and how far it has come."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Telling:
    """Writes to a console.

    Args:
        console: where people look.
        dry_run: nothing will be done.
    """

    def __init__(self, console: Console, *, dry_run: bool = False) -> None:
        self.console = console
        self._verb = "would" if dry_run else "will"

    def will(self, what: str) -> None:
        """Say what is done next."""
        self.console.print(f"{self._verb} {what}", markup=False, highlight=False, soft_wrap=True)

    def say(self, sentence: str) -> None:
        """Say something."""
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str) -> Iterator[Callable[[int, int, str], None]]:
        """A bar; call it with what is done, of how many, and a word about it."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as bars:
            row = bars.add_task(title, total=None)

            def show(done: int, total: int, note: str) -> None:
                bars.update(row, completed=done, total=total, description=f"{title} {note}".strip())

            yield show

    @contextmanager
    def questions(self) -> Iterator[Callable[[str, Any], Callable[[], None]]]:
        """A bar for each task of an evaluation; see services.evaluation.run.Progress."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as bars:

            def begin(model: str, task: Any) -> Callable[[], None]:
                row = bars.add_task(f"{model}: {task.title}", total=len(task.examples))
                return lambda: bars.advance(row)

            yield begin
