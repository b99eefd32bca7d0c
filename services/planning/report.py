"""A plan for people and for programs: a table, JSON, and a picture of the day."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from services.planning.load import rate_of
from services.planning.plan import Course, Plan
from services.planning.summary import SLOT_SECONDS, p95_over_time


def table(plan: Plan) -> Table:
    """A row for the fixed size and for each set of rules."""
    objective = plan.scenario.objective
    goal = f"{'answer' if objective.measure == 'total' else 'first text'} within {objective.p95_seconds:g} s"
    made = Table(title=f"95 % of requests: {goal}", title_justify="left")
    made.add_column("replicas", overflow="fold")
    for heading in ("encoder\nhours", "decoder\nhours", "other\nhours", "cost", "per 1,000\naudio hours"):
        made.add_column(heading, justify="right")
    for heading in ("p50", "p95", "p95, worst\n15 min", "within", "refused"):
        made.add_column(heading, justify="right")
    for course in plan.courses:
        made.add_row(*_cells(course))
    return made


def _cells(course: Course) -> list[str]:
    s = course.summary
    others = sum(hours for name, hours in s.replica_hours.items() if name not in ("encoder", "decoder"))
    hours = [f"{value:.1f}" for value in (s.replica_hours["encoder"], s.replica_hours["decoder"], others)]
    money = [f"{s.cost:,.2f}", f"{s.cost_per_1000_audio_hours:,.2f}"]
    times = [f"{value:.2f} s" for value in (s.p50_seconds, s.p95_seconds, s.worst_p95_seconds)]
    return [course.name, *hours, *money, *times, f"{s.within:.2%}", f"{s.refused:,}"]


def size_line(plan: Plan) -> str:
    """The smallest size in a sentence."""
    parts = [f"{count} {name}" for name, count in plan.size.replicas.items()]
    peak = plan.size.peak
    return (
        f"smallest fixed size: {', '.join(parts)}; in the busiest half hour p95 is {peak.p95_seconds:.2f} s, "
        f"{peak.within:.2%} within"
    )


def write_json(plan: Plan, file: Path) -> None:
    """Everything that was found, with the scenario and the profile it follows from."""
    content: dict[str, Any] = {
        "size": {"replicas": dict(plan.size.replicas), "peak": plan.size.peak.record()},
        "courses": [course.record() for course in plan.courses],
        "scenario": plan.scenario.model_dump(mode="json"),
        "profile": plan.profile.model_dump(mode="json"),
    }
    file.write_text(json.dumps(content, indent=1) + "\n")


def write_plot(plan: Plan, file: Path) -> None:
    """Arrivals, replicas of encoder and decoder, and the 95th percentile over time.

    Raises:
        OSError, ValueError: the file cannot be written, or its ending names no kind of picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (load, encoders, decoders, times) = pyplot.subplots(4, sharex=True, figsize=(10, 9))
    end = plan.scenario.hours * 3600
    _plot_arrivals(load, plan, end)
    for course in plan.courses:
        for axes, service in ((encoders, "encoder"), (decoders, "decoder")):
            at, counts = zip(
                *course.outcome.history[service], (end, course.outcome.history[service][-1][1]), strict=True
            )
            axes.step(np.array(at) / 3600, counts, where="post", alpha=0.7, label=course.name)
        slots = p95_over_time(course.outcome.requests, plan.scenario.objective)
        times.plot([at / 3600 for at, _ in slots], [p95 for _, p95 in slots], label=course.name)
    times.axhline(plan.scenario.objective.p95_seconds, color="black", linestyle=":", label="objective")
    encoders.set_ylabel("encoders")
    decoders.set_ylabel("decoders")
    times.set(ylabel="p95 of 15 min, s", xlabel="hour", xlim=(0, plan.scenario.hours), yscale="log")
    times.yaxis.set_major_formatter("{x:g}")
    times.yaxis.set_minor_formatter("{x:g}")
    for axes in (encoders, decoders):
        axes.set_ylim(bottom=0)
    times.legend(fontsize="small")
    figure.savefig(file, bbox_inches="tight", dpi=110)
    pyplot.close(figure)


def _plot_arrivals(axes: Any, plan: Plan, end: float) -> None:
    edges = np.arange(0, end + SLOT_SECONDS / 3, SLOT_SECONDS / 3)
    came = [request.at for request in plan.courses[0].outcome.requests if request.at >= 0]
    counts, _ = np.histogram(came, edges)
    axes.stairs(counts / np.diff(edges), edges / 3600, fill=True, alpha=0.4, label="came, in 5 min")
    middles = (edges[1:] + edges[:-1]) / 2
    axes.plot(middles / 3600, rate_of(plan.scenario.arrivals)(middles), label="rate")
    axes.set(ylabel="requests a second", ylim=(0, None))
    axes.legend(fontsize="small")
