"""What an evaluation found: a table for the terminal, JSON with every answer, and a plot with chance beside."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from services.evaluation.scores import Score
from services.evaluation.task import Task

LOWER_IS_BETTER = ("wer", "false_yes")


@dataclass(frozen=True)
class Result:
    """One task answered by one model.

    Attributes:
        model: the column it stands in: a platform's address or a checkpoint's directory.
        answers: as given, in the order of the task's examples.
        seconds: from the first question to the last answer.
    """

    model: str
    task: Task
    score: Score
    answers: list[str]
    seconds: float

    def record(self) -> dict[str, Any]:
        """For JSON: the score, chance, and per example what was wanted and given."""
        pairs = zip(self.task.examples, self.answers, strict=True)
        return {
            "model": self.model,
            "task": self.task.name,
            "split": self.task.split,
            **asdict(self.score),
            "chance": self.task.chance,
            "seconds": round(self.seconds, 2),
            "examples": [{"id": item.id, "wanted": item.answer, "given": given} for item, given in pairs],
        }


def table(results: Sequence[Result]) -> Table:
    """A row per task, a column per model, an arrow to the better side; unreadable answers are counted in brackets."""
    models = list(dict.fromkeys(result.model for result in results))
    made = Table("task", "score", "examples", "chance", *(Column(model, overflow="fold") for model in models))
    by_title: dict[str, dict[str, Result]] = {}
    for result in results:
        by_title.setdefault(result.task.title, {})[result.model] = result
    for title, row in by_title.items():
        first = next(iter(row.values()))
        better = "↓" if first.score.name in LOWER_IS_BETTER else "↑"
        cells = [_cell(row[model].score) if model in row else "" for model in models]
        examples = str(first.score.answers)
        made.add_row(title, f"{first.score.name} {better}", examples, f"{first.task.chance:.2f}", *cells)
    return made


def write_json(results: Sequence[Result], file: Path) -> None:
    """Every score and every answer."""
    content = {"results": [result.record() for result in results]}
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_plots(results: Sequence[Result], folder: Path) -> list[Path]:
    """Bars per task and model, one PNG per kind of score (``wer.png``, ``accuracy.png``, ...), chance as a line."""
    written = []
    for name in dict.fromkeys(result.score.name for result in results):
        written.append(folder / f"{name}.png")
        _plot([result for result in results if result.score.name == name], written[-1])
    return written


def _cell(score: Score) -> str:
    unread = f" ({score.unparsable} unparsable)" if score.unparsable else ""
    return f"{score.value:.3f}{unread}"


def _plot(results: Sequence[Result], file: Path) -> None:
    from matplotlib.figure import Figure

    titles = list(dict.fromkeys(result.task.title for result in results))
    models = list(dict.fromkeys(result.model for result in results))
    width = 0.8 / len(models)
    figure = Figure(figsize=(6 + len(titles), 5), layout="constrained")
    axes = figure.subplots()
    for index, model in enumerate(models):
        values = {result.task.title: result.score.value for result in results if result.model == model}
        places = [number - 0.4 + width * (index + 0.5) for number in range(len(titles))]
        axes.bar(places, [values.get(title, math.nan) for title in titles], width, label=model)
    chances = {result.task.title: result.task.chance for result in results}
    for number, title in enumerate(titles):
        label = "chance" if number == 0 else ""
        axes.hlines(chances[title], number - 0.45, number + 0.45, colors="black", linestyles="dashed", label=label)
    axes.set_xticks(range(len(titles)), titles, rotation=30, ha="right")
    axes.set(ylabel=results[0].score.name, ylim=(0, None))
    figure.legend(loc="outside lower center")
    figure.savefig(file, dpi=110)
