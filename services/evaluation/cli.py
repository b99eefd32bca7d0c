"""``auricle eval``: held-out tasks against a deployed platform, or against checkpoints in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from auricle import AsyncClient, AuricleError, TLSConfig

if TYPE_CHECKING:  # torch and transformers take seconds to import: no other command should wait for them
    from services.evaluation.report import Result
    from services.evaluation.run import Limits, Progress
    from services.evaluation.task import Task

FAILURE, USAGE = 1, 2


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("eval")(evaluate)


def evaluate(
    context: typer.Context,
    manifest: Annotated[list[Path], typer.Option(help="File of examples; may be repeated.")],
    tasks: Annotated[list[str] | None, typer.Argument(help="Tasks of the manifests; all by default.")] = None,
    target: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Platform to ask.")] = None,
    checkpoint: Annotated[list[Path] | None, typer.Option(help="Directory to ask in process; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Examples per task and split, evenly taken.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for scores.json and the plots.")] = Path("eval-results"),
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Questions in flight.")] = 4,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of the longest answer.")] = 64,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a checkpoint in process.")] = 2,
) -> None:
    """Score held-out examples: a table here, scores.json and plots in a folder.

    Without --target and --checkpoint the platform of --address is asked. What cannot be read in an answer is wrong.
    """
    try:
        from services.evaluation import report
        from services.evaluation.run import Limits, read_tasks
    except ModuleNotFoundError as error:
        raise _fail(f"{error.name} is not installed: pip install -e '.[train]'", FAILURE) from None
    console = Console(stderr=True)

    def warn(text: str) -> None:
        console.print(f"warning: {text}", style="yellow", markup=False)

    with _told_plainly():
        out.mkdir(parents=True, exist_ok=True)
        limits = Limits(limit, max_tokens, concurrency)
        chosen = read_tasks(manifest, tasks or [], limit, warn)
        with _bars(console) as progress:
            results: list[Result] = []
            if target or not checkpoint:
                results += asyncio.run(_deployed(context, target, chosen, limits, progress))
            results += _in_process(checkpoint or [], chosen, limits, threads, progress)
        report.write_json(results, out / "scores.json")
        plots = report.write_plots(results, out)
    Console().print(report.table(results))
    typer.echo(f"written: {', '.join(str(file) for file in (out / 'scores.json', *plots))}", err=True)


def _in_process(
    checkpoints: Sequence[Path], tasks: list[Task], limits: Limits, threads: int, progress: Progress
) -> list[Result]:
    import torch

    from services.evaluation.run import evaluate_checkpoint

    torch.set_num_threads(threads)
    return [result for path in checkpoints for result in evaluate_checkpoint(path, tasks, limits, progress)]


async def _deployed(
    context: typer.Context, target: str | None, tasks: list[Task], limits: Limits, progress: Progress
) -> list[Result]:
    from services.evaluation.run import evaluate_platform

    given = context.obj  # the options before the command
    tls = TLSConfig(ca=given.tls_ca) if given.tls_ca else given.tls or None
    address = target or given.address
    timeout = given.timeout_seconds
    async with AsyncClient(address, api_key=given.api_key, tls=tls, timeout_seconds=timeout) as client:
        return await evaluate_platform(client, address or "the default address", tasks, limits, progress)


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console) as bars:

        def begin(model: str, task: Task) -> Callable[[], None]:
            row = bars.add_task(f"{model}: {task.title}", total=len(task.examples))
            return lambda: bars.advance(row)

        yield begin


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Errors that a user can do something about become one line; 2 where nothing was asked yet, else 1."""
    from services.evaluation.run import EvaluationError
    from services.qwen2_audio.config import CheckpointError

    try:
        yield
    except EvaluationError as error:
        raise _fail(str(error), USAGE) from None
    except (AuricleError, CheckpointError, OSError, ValueError) as error:
        raise _fail(str(error), FAILURE) from None


def _fail(sentence: str, code: int) -> typer.Exit:
    typer.echo(f"error: {sentence}", err=True)
    return typer.Exit(code)
