"""A tiny data set for training tests: tones of four pitches, each with a name, and recipes over it."""

import math
from pathlib import Path

import numpy as np

from services.evaluation.manifest import Example, assistant_turn, user_turn, write_manifest
from services.training.data.clips import write_clip
from services.training.recipe import Recipe, read_recipe

TONES_HZ = {"one": 300, "two": 700, "three": 1500, "four": 3000}
SECONDS = 0.5


def write_tones(root: Path, clips_per_tone: int = 3) -> Path:
    """Write clips and ``tones.jsonl``; the worse answer of each is the name of another tone."""
    names = list(TONES_HZ)
    examples = []
    for index, (name, frequency_hz) in enumerate(TONES_HZ.items()):
        for number in range(clips_per_tone):
            t = np.arange(int((SECONDS + 0.1 * number) * 16_000)) / 16_000
            clip = np.sin(2 * math.pi * frequency_hz * t).astype(np.float32) * 0.5
            examples.append(
                Example(
                    id=f"{name}-{number}",
                    task="tone",
                    split="train",
                    license="Apache-2.0",
                    source="formula",
                    audio=[write_clip(clip, root, f"{name}-{number}.wav")],
                    messages=[user_turn("Describe the sound.", 1), assistant_turn(name)],
                    rejected=names[(index + 1) % len(names)],
                    words=[(name, 0.0, SECONDS)],
                )
            )
    write_manifest(root / "tones.jsonl", examples)
    return root / "tones.jsonl"


def write_recipe(path: Path, stage: str, start: str, manifest: Path, sections: str) -> Recipe:
    """A recipe over the tones; ``start`` is TOML for [start], ``sections`` for rates, losses and schedule."""
    path.write_text(
        f'stage = "{stage}"\nseed = 5\nbatch_size = 4\nthreads = 1\nlora_rank = 4\nlora_alpha = 8\n'
        f'[start]\n{start}\n[[data]]\nmanifest = "{manifest}"\nweight = 1.0\n{sections}\n'
    )
    return read_recipe(path)
