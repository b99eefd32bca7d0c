"""The learning curve: a CSV row per step, plotted on demand."""

import csv
from pathlib import Path

_FILE = "curve.csv"


class Curve:
    """Appends rows to ``folder/curve.csv``; the columns are those of the first row ever written."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE

    def forget_from(self, step: int) -> None:
        """Drop rows of steps that a resumed run takes again."""
        if self._file.exists():
            kept = [row for row in read_curve(self._file) if row["step"] < step]
            self._file.unlink()
            for row in kept:
                self.add(row)

    def add(self, row: dict[str, float]) -> None:
        """Append one row."""
        new = not self._file.exists()
        with self._file.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)


def read_curve(file: Path) -> list[dict[str, float]]:
    """Rows of a curve; ``step`` and every metric as numbers."""
    with file.open(newline="") as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def plot_curve(folder: Path, smooth_steps: int = 20) -> Path:
    """Plot every metric of ``folder/curve.csv`` into ``curve.png``, with a running mean."""
    from matplotlib.figure import Figure

    rows = read_curve(folder / _FILE)
    steps = [row["step"] for row in rows]
    metrics = [key for key in rows[0] if key not in ("step", "seconds")]
    figure = Figure(figsize=(7, 2.6 * len(metrics)), layout="constrained")
    for axes, metric in zip(figure.subplots(len(metrics), squeeze=False)[:, 0], metrics, strict=True):
        values = [row[metric] for row in rows]
        axes.plot(steps, values, color="0.8", linewidth=0.6)
        axes.plot(steps, _running_mean(values, smooth_steps))
        axes.set(xlabel="step", ylabel=metric)
    figure.savefig(folder / "curve.png", dpi=110)
    return folder / "curve.png"


def _running_mean(values: list[float], window: int) -> list[float]:
    means = []
    for end in range(1, len(values) + 1):
        recent = values[max(0, end - window) : end]
        means.append(sum(recent) / len(recent))
    return means
