"""Sound events: recordings from Debian packages, and classes made by formulas.

    python -m services.training.data.sounds --out FOLDER

Every clip is a different cut, speed, gain and place in time. Formula classes are held out by parameters never drawn in
training; recorded classes with several recordings by recording, and those with one by the cut (the manifest's source
says which: ``recording`` or ``cut``).
"""

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from services.evaluation.manifest import Example, assistant_turn, user_turn, write_manifest
from services.qwen2_audio.mel import SAMPLE_RATE_HZ
from services.training.data.clips import Samples, at_peak, heard_as, to_model_rate, write_clip
from services.training.data.formulas import FORMULAS
from services.training.data.prompts import SOUND, wording
from services.training.traits import NO_VOICE

STAMPS = Path("/usr/share/tuxpaint/stamps")
STAMPS_LICENSE = "tuxpaint-stamps-default (GPL-2+ and public domain, see its copyright file)"
FORMULA_LICENSE = "made by formula, Apache-2.0"
TRAIN_CLIPS, TEST_CLIPS = 80, 6
SECONDS = (0.8, 2.2)

# The recordings of each class; where there are several, the last is held out.
RECORDINGS: dict[str, tuple[str, ...]] = {
    "dog": ("animals/mammals/dogs/dog.ogg",),
    "cow": ("animals/mammals/bovines/cow_white.ogg", "animals/mammals/bovines/cow.ogg"),
    "sheep": ("animals/mammals/bovines/sheep.ogg", "animals/mammals/bovines/sheep_lamb.ogg"),
    "goat": ("animals/mammals/bovines/goat.ogg", "animals/mammals/bovines/mountaingoat.ogg"),
    "horse": ("animals/mammals/equines/horse.ogg",),
    "donkey": ("animals/mammals/equines/donkey.ogg",),
    "pig": ("animals/mammals/pig_golden.ogg", "animals/mammals/pig_golden2.ogg", "animals/mammals/pig.ogg"),
    "lion": ("animals/mammals/cats/tiger.ogg", "animals/mammals/cats/lion.ogg"),
    "elephant": ("animals/mammals/elephant.ogg",),
    "frog": ("animals/amphibians/frog.ogg",),
    "bee": ("animals/insects/hornet.ogg", "animals/insects/bee.ogg"),
    "mosquito": ("animals/insects/mosquito.ogg",),
    "crow": ("animals/birds/crow.ogg",),
    "owl": ("animals/birds/owl.ogg",),
    "rooster": ("animals/birds/rooster.ogg",),
    "duck": ("animals/birds/drake.ogg", "animals/birds/duck.ogg"),
    "turkey": ("animals/birds/turkey.ogg",),
    "seagull": ("animals/birds/seagull.ogg",),
    "whale": ("animals/mammals/aquatic/orca.ogg", "animals/mammals/aquatic/whale.ogg"),
    "vacuum cleaner": ("household/vacuum_cleaner.ogg",),
    "kettle": ("household/kettle.ogg",),
    "hammer": ("household/tools/mallet_metal.ogg", "household/tools/hammer.ogg"),
    "saw": ("household/tools/saw.ogg",),
    "thunder": ("naturalforces/lightningbolt.ogg",),
    "fireworks": ("seasonal/newyears/fireworks.ogg",),
    "fire truck": ("vehicles/emergency/firetruck.ogg",),
}
CLASSES = (*RECORDINGS, *FORMULAS)


@dataclass(frozen=True)
class Cut:
    """A class, where its samples come from, and how one clip differs from the next."""

    name: str
    split: str
    number: int


def main() -> None:
    """Write clips and ``sounds.jsonl`` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    made = (_example(cut, options.out) for cut in _cuts())
    print(write_manifest(options.out / "sounds.jsonl", made), "clips")


def make_sound(name: str, split: str, chance: random.Random) -> tuple[Samples, str]:
    """One clip of a class at 16 kHz, and how it was held out or not: ``formula``, ``recording`` or ``cut``."""
    if name in FORMULAS:
        return at_peak(FORMULAS[name](chance, split == "train").astype(np.float32), 0.6), "formula"
    recordings = RECORDINGS[name]
    several = len(recordings) > 1
    file = chance.choice(recordings[:-1] or recordings) if split == "train" else recordings[-1]
    samples, rate_hz = soundfile.read(STAMPS / file, dtype="float32")
    varied = to_model_rate(samples, rate_hz * chance.uniform(0.94, 1.06))
    return at_peak(_cut(varied, chance), 0.6), "recording" if several else "cut"


def _cuts() -> Iterator[Cut]:
    for name in CLASSES:
        yield from (Cut(name, "train", number) for number in range(TRAIN_CLIPS))
        yield from (Cut(name, "test", number) for number in range(TEST_CLIPS))


def _example(cut: Cut, out: Path) -> Example:
    chance = random.Random(f"{cut}")
    clip, held_out_by = make_sound(cut.name, cut.split, chance)
    name = f"{cut.name.replace(' ', '_')}-{cut.split}-{cut.number:03d}"
    prompt = wording(SOUND, chance) if cut.split == "train" else SOUND[0]
    return Example(
        id=f"sounds/{name}",
        task="sound",
        split=cut.split,
        license=FORMULA_LICENSE if cut.name in FORMULAS else STAMPS_LICENSE,
        source=held_out_by,
        audio=[write_clip(clip, out, f"sounds/{name}.wav")],
        messages=[user_turn(prompt, 1), assistant_turn(answer(cut.name))],
        words=heard_as(cut.name, clip),
        traits={**NO_VOICE, "sound": cut.name},
        choices=list(CLASSES),
    )


def answer(name: str) -> str:
    """The answer to "What sound is this?"."""
    return f"{name[0].upper()}{name[1:]}."


def _cut(samples: Samples, chance: random.Random) -> Samples:
    """A stretch of the recording that is not silent; short recordings are kept whole."""
    size = int(chance.uniform(*SECONDS) * SAMPLE_RATE_HZ)
    if samples.size <= size:
        return samples[: int(SECONDS[1] * SAMPLE_RATE_HZ)]
    starts = [chance.randrange(samples.size - size) for _ in range(4)]
    return max((samples[start : start + size] for start in starts), key=lambda part: float((part**2).sum()))


if __name__ == "__main__":
    main()
