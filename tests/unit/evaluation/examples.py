"""Held-out examples over short tones, for tests of everything that asks or scores."""

import math
from pathlib import Path

import numpy as np

from services.evaluation.manifest import Example, assistant_turn, user_turn, write_manifest
from services.training.data.clips import write_clip

CHOICES = ["dog", "cow", "fire truck", "cat"]


def write_examples(root: Path, answers: dict[str, str], split: str = "test") -> Path:
    """``held-out.jsonl`` with one example per task, which wants the given answer; lengths differ."""
    examples = []
    for number, (task, answer) in enumerate(answers.items()):
        t = np.arange(int((0.4 + 0.1 * number) * 16_000)) / 16_000
        clip = (0.5 * np.sin(2 * math.pi * (300 + 400 * number) * t)).astype(np.float32)
        examples.append(
            Example(
                id=f"{task}-{number}",
                task=task,
                split=split,
                license="Apache-2.0",
                source="formula",
                audio=[write_clip(clip, root, f"{task}-{split}.wav")],
                messages=[user_turn("What is it?", 1), assistant_turn(answer)],
                choices=["yes", "no"] if task == "absent_sound" else CHOICES,
            )
        )
    write_manifest(root / f"{split}.jsonl", examples)
    return root / f"{split}.jsonl"
