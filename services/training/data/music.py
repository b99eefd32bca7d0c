"""Music: which instrument plays, major or minor, slow or fast; notes played by fluidsynth.

    python -m services.training.data.music --out FOLDER

Held out by preset (the last of each family is never trained on) and by notes at once: training plays the even keys,
tests the odd ones; tempi are drawn from interleaved bands.
"""

import argparse
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.evaluation.manifest import Example, assistant_turn, user_turn, write_manifest
from services.training.data.clips import Samples, at_peak, heard_as, write_clip
from services.training.data.midi import LICENSE, Note, Piece, render
from services.training.data.prompts import ABOUT, wording
from services.training.traits import NOTHING

# General MIDI presets (from 0) of each family, those that sound alike together; the last is held out.
FAMILIES: dict[str, tuple[int, ...]] = {
    "piano": (0, 1, 3, 2),
    "bells": (8, 10, 14, 9),
    "mallets": (11, 12, 108, 13),
    "organ": (16, 18, 19, 17),
    "accordion": (21, 22, 23),
    "guitar": (24, 26, 27, 25),
    "distorted guitar": (29, 30),
    "bass": (32, 33, 36, 34),
    "solo strings": (40, 42, 41),
    "string orchestra": (48, 50, 49),
    "choir": (52, 54, 53),
    "brass": (56, 58, 60, 61, 57),
    "saxophone": (64, 65, 67, 66),
    "reeds": (68, 70, 71, 69),
    "flute": (72, 73, 75, 74),
    "drum": (116, 118, 117),
}
LOWEST_KEY = {"bass": 28, "drum": 40, "bells": 66, "mallets": 60}
KEY_SPAN, DEFAULT_LOWEST_KEY = 20, 52
CHORD_FAMILIES = ("piano", "organ", "guitar", "string orchestra", "accordion", "choir")
BEAT_FAMILIES = ("piano", "guitar", "bells", "brass", "flute", "mallets", "drum", "bass")
THIRD = {"major": 4, "minor": 3}
BEATS_PER_MINUTE = {"slow": (44, 76), "fast": (136, 200)}
CHOICES = {"instrument": tuple(FAMILIES), "mode": tuple(THIRD), "tempo": tuple(BEATS_PER_MINUTE)}
CLIPS = {"instrument": (250, 10), "mode": (1000, 30), "tempo": (300, 30)}  # per answer: training, test
_BANDS = 8
_PIECES_PER_RENDERING = 64


@dataclass(frozen=True)
class Wanted:
    """A clip to make: its task, the answer, its split and its number."""

    task: str
    answer: str
    split: str
    number: int


def main() -> None:
    """Write clips and ``music.jsonl`` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(write_manifest(options.out / "music.jsonl", _examples(options.out)), "clips")


def compose(wanted: Wanted) -> Piece:
    """The piece of a clip: a function of what is wanted alone."""
    chance, training = random.Random(f"{wanted}"), wanted.split == "train"
    if wanted.task == "instrument":
        return _melody(wanted.answer, training, chance)
    if wanted.task == "mode":
        return _chords(THIRD[wanted.answer], training, chance)
    return _beats(_drawn(*BEATS_PER_MINUTE[wanted.answer], training, chance), training, chance)


def _melody(family: str, training: bool, chance: random.Random) -> Piece:
    keys = [_key(family, training, chance) for _ in range(chance.randint(1, 5))]
    seconds = chance.uniform(1.2, 2.4)
    step = seconds / len(keys)
    velocity = chance.randint(70, 115)
    notes = [Note(key, index * step, (index + 0.9) * step, velocity) for index, key in enumerate(keys)]
    return Piece(_preset(family, training, chance), tuple(notes), seconds)


def _chords(third: int, training: bool, chance: random.Random) -> Piece:
    """A triad, or tonic, fourth, fifth and tonic; struck at once or one key after the other."""
    family = chance.choice(CHORD_FAMILIES)
    root = _key(family, training, chance)
    steps = (0,) if chance.random() < 0.5 else (0, 5, 7, 0)
    chord_seconds = chance.uniform(1.4, 2.0) if len(steps) == 1 else chance.uniform(0.6, 0.9)
    spread_seconds = chance.choice((0.0, 0.03, 0.15))
    notes = []
    for index, degree in enumerate(steps):
        begin, end = index * chord_seconds, (index + 0.95) * chord_seconds
        for place, interval in enumerate((0, third, 7, 12)):
            notes.append(Note(root + degree + interval, begin + place * spread_seconds, end, 85))
    return Piece(_preset(family, training, chance), tuple(notes), chord_seconds * len(steps))


def _beats(beats_per_minute: float, training: bool, chance: random.Random) -> Piece:
    """A note on every beat for four seconds."""
    family, beat, seconds = chance.choice(BEAT_FAMILIES), 60 / beats_per_minute, 4.0
    starts = itertools.takewhile(lambda start: start < seconds - 0.1, itertools.count(0.0, beat))
    notes = [Note(_key(family, training, chance), start, min(start + beat * 0.9, seconds)) for start in starts]
    return Piece(_preset(family, training, chance), tuple(notes), seconds)


def _preset(family: str, training: bool, chance: random.Random) -> int:
    *trained, held_out = FAMILIES[family]
    return chance.choice(trained) if training else held_out


def _key(family: str, training: bool, chance: random.Random) -> int:
    lowest = LOWEST_KEY.get(family, DEFAULT_LOWEST_KEY)
    return lowest + 2 * chance.randrange(KEY_SPAN // 2) + (0 if training else 1)


def _drawn(low: float, high: float, training: bool, chance: random.Random) -> float:
    width = (high - low) / _BANDS
    band = 2 * chance.randrange(_BANDS // 2) + (0 if training else 1)
    return low + (band + chance.random()) * width


def wanted_clips() -> Iterator[Wanted]:
    """Every clip of the set."""
    for task, (train, test) in CLIPS.items():
        for answer in CHOICES[task]:
            yield from (Wanted(task, answer, "train", number) for number in range(train))
            yield from (Wanted(task, answer, "test", number) for number in range(test))


def _examples(out: Path) -> Iterator[Example]:
    remaining = wanted_clips()
    while batch := list(itertools.islice(remaining, _PIECES_PER_RENDERING)):
        pieces = [compose(wanted) for wanted in batch]
        for wanted, piece, clip in zip(batch, pieces, render(pieces), strict=True):
            name = f"{wanted.task}-{wanted.answer.replace(' ', '_')}-{wanted.split}-{wanted.number:03d}"
            yield _example(wanted, piece, name, at_peak(clip, 0.6), out)


def _example(wanted: Wanted, piece: Piece, name: str, clip: Samples, out: Path) -> Example:
    family = next(family for family, presets in FAMILIES.items() if piece.preset in presets)
    prompts = ABOUT[wanted.task]
    prompt = wording(prompts, random.Random(name)) if wanted.split == "train" else prompts[0]
    return Example(
        id=f"music/{name}",
        task=wanted.task,
        split=wanted.split,
        license=LICENSE,
        source=f"preset {piece.preset}",
        audio=[write_clip(clip, out, f"music/{name}.wav")],
        messages=[user_turn(prompt, 1), assistant_turn(f"{wanted.answer.capitalize()}.")],
        words=heard_as(wanted.answer, clip),
        traits={"instrument": family, wanted.task: wanted.answer, "language": NOTHING},
        choices=list(CHOICES[wanted.task]),
    )


if __name__ == "__main__":
    main()
