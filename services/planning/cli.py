"""``auricle plan``: how many replicas a load needs and what they cost, and the service times that this follows from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from auricle import AsyncClient, AuricleError, TLSConfig

if TYPE_CHECKING:  # simpy and numpy are needed by these commands alone
    from services.planning.plan import Plan
    from services.planning.profile import Profile
    from services.planning.scenario import Scenario

FAILURE, USAGE = 1, 2
_DEFAULT = "run"
_PICTURES = (".png", ".svg", ".pdf")


class _RunsByDefault(typer.core.TyperGroup):
    """`auricle plan FILE` is `auricle plan run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


# A paragraph for each command: inside a group of the command line single line breaks do not last.
HELP = """How many replicas a load needs, what they cost, and how the chart's scaling rules follow it.

`auricle plan scenario.toml --plot day.png`: sizes, costs, p95 over the day.

`auricle plan profile --target HOST:8400 gpu.json`: measure a platform.

`auricle plan scenario.toml --profile gpu.json`: plan with what was measured.
"""
plan_app = typer.Typer(cls=_RunsByDefault, no_args_is_help=True, help=HELP)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(plan_app, name="plan")


@plan_app.command(_DEFAULT)
def run(
    scenario: Annotated[Path, typer.Argument(help="TOML file: arrivals, lengths, objective, prices.")],
    profile: Annotated[Path | None, typer.Option(help="Service times; those of auricle-mini by default.")] = None,
    values: Annotated[list[Path] | None, typer.Option(help="The chart's values, as for helm; may be repeated.")] = None,
    per_second: Annotated[float | None, typer.Option(help="Requests a second, in place of the file's.")] = None,
    p95_seconds: Annotated[float | None, typer.Option(help="Objective, in place of the file's.")] = None,
    hours: Annotated[float | None, typer.Option(help="How long, in place of the file's.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the plan here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the day here: .png, .svg or .pdf.")] = None,
) -> None:
    """Simulate a load: the smallest fixed size, and replicas as the chart scales them (the default command)."""
    console = Console(stderr=True)
    if plot and plot.suffix not in _PICTURES:
        raise _fail(f"{plot}: pictures end in {', '.join(_PICTURES)}", USAGE)
    with _told_plainly():
        from services.planning import report
        from services.planning.profile import DEFAULT, read_profile

        load = _scenario(scenario, values or [], per_second, p95_seconds, hours)
        times = read_profile(profile or DEFAULT)
        if profile is None:
            console.print(f"service times of {times.model} ({times.origin}); --profile takes others", style="yellow")
        plan = _planned(load, times, console)
        # Narrower than a terminal the table would break in every cell.
        out = Console(width=max(Console().width, 130)) if not Console().is_terminal else Console()
        out.print(report.table(plan))
        out.print(report.size_line(plan))
        if json_file:
            report.write_json(plan, json_file)
        if plot:
            report.write_plot(plan, plot)


@plan_app.command("profile")
def measure_profile(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to write the service times, as JSON.")],
    target: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Platform to measure.")] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Questions of each kind.")] = 4,
    tokens: Annotated[int, typer.Option(min=8, max=512, help="Tokens of the longer answers.")] = 32,
) -> None:
    """Measure service times on a running platform that has one replica of each service and nothing else to do."""
    with _told_plainly():
        from services.planning.measuring import Trial
        from services.planning.profile import write_profile

        found = asyncio.run(_measured(context, target, Trial(rounds=rounds, answer_tokens=tokens)))
        write_profile(found, file)
        typer.echo(found.model_dump_json(indent=2))


def _scenario(
    file: Path, values: list[Path], per_second: float | None, p95_seconds: float | None, hours: float | None
) -> Scenario:
    from services.planning.scenario import read_scenario

    changes: dict[str, Any] = {}
    if per_second is not None:
        changes["arrivals"] = {"per_second": per_second, "by_hour": []}
    if p95_seconds is not None:
        changes["objective"] = {"p95_seconds": p95_seconds}
    if hours is not None:
        changes["hours"] = hours
    scenario = read_scenario(file, changes)
    return scenario.model_copy(update={"values": (*scenario.values, *values)})


def _planned(scenario: Scenario, profile: Profile, console: Console) -> Plan:
    from services.planning.plan import make_plan

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        sizing = bars.add_task("sizing", total=None)
        rows: dict[str, Any] = {}

        def on_progress(name: str, share: float) -> None:
            if name not in rows:
                bars.update(sizing, total=1, completed=1, description="sized")
                rows[name] = bars.add_task(name, total=1.0)
            bars.update(rows[name], completed=share)

        return make_plan(
            scenario, profile, lambda size: bars.update(sizing, description=f"sizing: {size}"), on_progress
        )


async def _measured(context: typer.Context, target: str | None, trial: Any) -> Profile:
    from services.planning.measuring import measure

    given = context.obj  # the options before the command
    tls = TLSConfig(ca=given.tls_ca) if given.tls_ca else given.tls or None
    columns = (TextColumn("measuring"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        row = bars.add_task("", total=trial.steps)
        address, timeout = target or given.address, given.timeout_seconds
        async with AsyncClient(address, api_key=given.api_key, tls=tls, timeout_seconds=timeout) as client:
            return await measure(client, trial, lambda: bars.advance(row))


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Errors that a user can do something about become one line; 2 where the files are wrong, else 1."""
    from services.planning.errors import PlanningError

    try:
        yield
    except ModuleNotFoundError as error:
        raise _fail(f"{error.name} is not installed: pip install 'auricle-platform[plan]'", FAILURE) from None
    except PlanningError as error:
        raise _fail(str(error), USAGE) from None
    except (AuricleError, OSError, ValueError) as error:
        raise _fail(str(error), FAILURE) from None


def _fail(sentence: str, code: int) -> typer.Exit:
    typer.echo(f"error: {sentence}", err=True)
    return typer.Exit(code)
