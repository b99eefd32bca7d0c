"""What comparing benchmarks share: turns, ratios with their spread, and bars."""

import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.load.peers.side import Side

T = TypeVar("T")


def turn(items: Sequence[T], number: int) -> list[T]:
    """The items in another order for each round, so that none always follows the same one."""
    start = number % len(items)
    turned = [*items[start:], *items[:start]]
    return turned if number % 2 == 0 else turned[::-1]


def ratio(values: Sequence[float]) -> str:
    """Median, smallest and largest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


@contextmanager
def running(sides: list[Side], threads: int) -> Iterator[list[Side]]:
    """The sides that could be started; the others are told and left out."""
    started: list[Side] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as logs:
        try:
            for side in sides:
                try:
                    side.start(threads, Path(logs) / f"{side.name}.log")
                    started.append(side)
                    print(f"{side.name} started in {side.start_seconds:.0f} s", flush=True)
                except RuntimeError as error:
                    print(f"{side.name} is left out: {error}", flush=True)
            yield started
        finally:
            for side in started:
                side.close()


def write(result: dict[str, Any], file: Path | None) -> None:
    """Figures and raw data as JSON, and a plot beside it; nothing without a file."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(result, indent=2))
        _plot_speeds(result["decode"], result["threads"], file.with_suffix(".svg"))


def _plot_speeds(rows: list[dict[str, Any]], threads: int, file: Path) -> None:
    """Tokens for each second of CPU time by requests together, one bar for each side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    batches = sorted({row["batch"] for row in rows})
    sides = list(dict.fromkeys(row["side"] for row in rows))
    colors = {"engine": "#1f5fa8", "transformers": "#8a8a8a", "vllm": "#d98a1f", "llama.cpp": "#4f9a5b"}
    figure, axes = pyplot.subplots(figsize=(9, 4))
    for index, side in enumerate(sides):
        speeds = [
            next(r["tokens_per_cpu_second"] for r in rows if (r["batch"], r["side"]) == (b, side)) for b in batches
        ]
        places = [place + (index - len(sides) / 2 + 0.5) * 0.8 / len(sides) for place in range(len(batches))]
        kind = side.split()[0]
        fainter = 1 - 0.3 * sum(other.startswith(kind) for other in sides[:index])
        bars = axes.bar(places, speeds, 0.8 / len(sides), label=side, color=colors[kind], alpha=fainter)
        axes.bar_label(bars, fmt="%.0f", fontsize=6)
    axes.set_xticks(range(len(batches)), [str(batch) for batch in batches])
    axes.set(
        xlabel="requests together",
        ylabel="tokens for a second of CPU time",
        title=f"auricle-mini, {threads} CPU thread(s)",
    )
    axes.legend(fontsize=7, ncol=2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, bbox_inches="tight")
