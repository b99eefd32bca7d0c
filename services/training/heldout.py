"""Held-out scores of a checkpoint, in process, by task and split.

    python -m services.training.heldout --base CHECKPOINT --weights FOLDER --out scores.json MANIFEST...

``--weights`` is an export (``audio.safetensors`` and ``lora.safetensors``). Several may be given: each is a column of
the table, which is how stages are compared.
"""

import argparse
import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from services.evaluation.scores import Score
from services.evaluation.task import SCORERS, Task
from services.qwen2_audio.config import audio_config
from services.training.answering import answer
from services.training.collate import Collator
from services.training.hearing import Augmentation
from services.training.loop import Schedule
from services.training.manifest import Example, read_manifest
from services.training.recipe import Data, Losses, Rates, Recipe, Start
from services.training.setup import set_up_model

SPLITS = ("test", "test_voice", "test_long")


def main() -> None:
    """Score, print a Markdown table, write JSON with every answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--base", required=True)
    parser.add_argument("--weights", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=100, help="examples per task and split, evenly taken")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    tasks = held_out_tasks(options.manifests, options.limit)
    root = options.manifests[0].parent
    columns: dict[str, dict[str, Score]] = {}
    answers: dict[str, dict[str, list[list[str]]]] = {}
    for folder in options.weights:
        columns[folder.name], answers[folder.name] = _column(options.base, folder, tasks, root, options.threads)
    scores = {name: {task: asdict(score) for task, score in column.items()} for name, column in columns.items()}
    options.out.write_text(json.dumps({"scores": scores, "answers": answers}, indent=1, ensure_ascii=False))
    print(table(columns))


def held_out_tasks(manifests: list[Path], limit: int) -> list[Task[Example]]:
    """A task for every kind of example and split found in the manifests."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for path in manifests:
        for split in SPLITS:
            for example in read_manifest(path, split).examples:
                if example.task in SCORERS:
                    groups[f"{example.task} {split}"].append(example)
    return [Task(name, _evenly(found, limit), SCORERS[name.split()[0]]) for name, found in sorted(groups.items())]


def table(columns: dict[str, dict[str, Score]]) -> str:
    """Markdown: a row per task, a column per model."""
    names = list(columns)
    lines = [f"| task | score | n | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for task, score in columns[names[0]].items():
        cells = " | ".join(f"{columns[name][task].value:.3f}" for name in names)
        lines.append(f"| {task} | {score.name} | {score.answers} | {cells} |")
    return "\n".join(lines)


def _column(
    base: str, folder: Path, tasks: list[Task[Example]], root: Path, threads: int
) -> tuple[dict[str, Score], dict[str, list[list[str]]]]:
    """Scores by task, and by task the wanted and the given answers."""
    recipe = Recipe(
        stage="sft",
        seed=0,
        batch_size=1,
        threads=threads,
        start=Start(base, str(folder / "audio.safetensors"), str(folder / "lora.safetensors")),
        data=(Data("", 1.0),),
        rates=Rates(),
        losses=Losses(),
        schedule=Schedule(1, 1, 1),
        augmentation=Augmentation(),
    )
    loaded = set_up_model(recipe, with_lora=True)
    bins = audio_config(loaded.config).num_mel_bins
    collator = Collator(root, bins, loaded.prompts, loaded.tokenizer, Augmentation())
    scores, pairs = {}, {}
    for task in tasks:
        answers = answer(loaded.model, collator, task.examples)
        scores[task.name] = task.score(answers)
        pairs[task.name] = [[example.answer, said] for example, said in zip(task.examples, answers, strict=True)]
        print(folder.name, task.name, scores[task.name], flush=True)
    return scores, pairs


def _evenly(examples: list[Example], limit: int) -> list[Example]:
    step = max(1, len(examples) // limit)
    return examples[::step][:limit]


if __name__ == "__main__":
    main()
