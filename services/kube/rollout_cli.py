"""``auricle k8s rollout``: a new model beside the one that serves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.kube.session import Session, session

if TYPE_CHECKING:
    from services.evaluation.report import Result
    from services.evaluation.run import Limits
    from services.evaluation.task import Task
    from services.kube.rollout import Rollout

WORSE = 3
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done; the cluster checks it, keeps nothing.")
]
Share = Annotated[int, typer.Option("--share", min=0, max=100, help="Percent of the conversations that it answers.")]

rollout_app = typer.Typer(
    no_args_is_help=True, help="A new model beside the one that serves: start, compare, then promote or abort."
)


@contextmanager
def _rollout(context: typer.Context, *, dry_run: bool = False) -> Iterator[tuple[Rollout, Session]]:
    with session(context, dry_run=dry_run) as here:
        from services.kube.rollout import Rollout

        yield Rollout(here.cluster, here.options.release, here.telling, here.options.timeout_seconds), here


@rollout_app.command()
def start(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A hub id, or a directory of the volume such as /models/mine.")],
    share: Share = 0,
    replicas: Annotated[int, typer.Option(min=1, help="Pods of its encoder and of its decoder.")] = 1,
    filled: Annotated[bool, typer.Option("--filled", help="It lies on the volume, its encoder published.")] = False,
    job_memory: Annotated[str, typer.Option(help="Memory of the job that gets it.")] = "24Gi",
    hub_token_secret: Annotated[str | None, typer.Option(help="Secret with the hub's token under `token`.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Get a model, bring up an encoder and a decoder of it beside the release's, and give them a share."""
    with _rollout(context, dry_run=dry_run) as (rollout, _):
        from services.kube.canary import model_job

        job = None if filled else model_job(rollout.release, model, job_memory, hub_token_secret)
        rollout.start(model, share, replicas, job)


@rollout_app.command()
def share(
    context: typer.Context,
    percent: Annotated[int, typer.Argument(min=0, max=100, help="Of the conversations.")],
    dry_run: DryRun = False,
) -> None:
    """Give the canary another share."""
    with _rollout(context, dry_run=dry_run) as (rollout, _):
        rollout.share(percent)


@rollout_app.command()
def compare(
    context: typer.Context,
    manifest: Annotated[list[Path], typer.Option(help="File of examples, as for auricle eval; may be repeated.")],
    tasks: Annotated[list[str] | None, typer.Argument(help="Tasks of the manifests; all by default.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Examples per task and split, evenly taken.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, max=1, help="Loss that a task may have; 0.02 is 2 points.")] = 0.02,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Questions in flight.")] = 4,
    out: Annotated[Path | None, typer.Option(help="Folder for scores.json and plots.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Ask both models the tasks of `auricle eval` through the gateway of --address, and judge the new one.

    It passes when no task loses more than the tolerance. The verdict is kept for `promote`; exit code 3 when it fails.
    """
    with _rollout(context, dry_run=dry_run) as (rollout, here):
        from rich.console import Console

        from services.evaluation import report
        from services.evaluation.run import EvaluationError, Limits, read_tasks
        from services.kube.cluster import KubeError
        from services.kube.compare import judge
        from services.kube.rollout import Verdict

        model = rollout.model()
        try:
            chosen = read_tasks(manifest, tasks or [], limit, here.telling.say)
        except EvaluationError as error:
            raise KubeError(str(error)) from None
        questions = sum(len(task.examples) for task in chosen)
        here.telling.will(f"ask both models {questions} questions of {len(chosen)} tasks")
        if dry_run:
            return
        limits = Limits(limit, concurrency=concurrency)
        stable, canary = asyncio.run(_both(context, here, model, chosen, limits))
        Console().print(report.table([*stable, *canary]))
        if out:
            out.mkdir(parents=True, exist_ok=True)
            report.write_json([*stable, *canary], out / "scores.json")
            report.write_plots([*stable, *canary], out)
        passed, text = judge(stable, canary, tolerance)
        rollout.note(Verdict(model, passed, text))
        typer.echo(f"{'passed' if passed else 'failed'}: {text}")
    if not passed:
        raise typer.Exit(WORSE)


@rollout_app.command()
def promote(
    context: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Without a comparison, or against it.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Make the canary's model the release's: it answers everything while encoder and decoder change."""
    with _rollout(context, dry_run=dry_run) as (rollout, _):
        rollout.promote(force=force)


@rollout_app.command()
def abort(context: typer.Context, dry_run: DryRun = False) -> None:
    """Take the canary away; what a promotion has changed is changed back first."""
    with _rollout(context, dry_run=dry_run) as (rollout, _):
        rollout.abort()


async def _both(
    context: typer.Context, here: Session, model: str, tasks: list[Task], limits: Limits
) -> tuple[list[Result], list[Result]]:
    from auricle import AsyncClient, TLSConfig
    from services.kube.compare import TRACK_METADATA, evaluate_both

    given = context.obj  # the options before `k8s`
    tls = TLSConfig(ca=given.tls_ca) if given.tls_ca else given.tls or None

    def client(track: str) -> AsyncClient:
        metadata = {TRACK_METADATA: track}
        return AsyncClient(
            given.address, api_key=given.api_key, tls=tls, timeout_seconds=given.timeout_seconds, metadata=metadata
        )

    async with client("stable") as stable, client("canary") as canary:
        with here.telling.questions() as progress:
            return await evaluate_both(stable, canary, model, tasks, limits, progress)
