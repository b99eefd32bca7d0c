"""Mixes: speech over a sound, asked about either, the instruction typed or spoken.

    python -m services.training.data.mixes --clips FOLDER --out FOLDER

Speech comes from ``speech.jsonl`` of the first folder, sounds are cut anew; both from their training parts in training
and from their held-out parts in ``test`` (instruction typed) and ``test_spoken``. A spoken instruction is a clip of its
own behind the mix; its last wording is never trained on.
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from services.evaluation.clip import read_clip
from services.evaluation.manifest import Example, assistant_turn, read_manifest, user_turn, write_manifest
from services.training.data import flite
from services.training.data.clips import Samples, at_peak, write_clip
from services.training.data.instructions import instruction_clip
from services.training.data.prompts import BEHIND, SAID, wording
from services.training.data.sounds import CLASSES, FORMULA_LICENSE, FORMULAS, STAMPS_LICENSE, answer, make_sound

SOUND_BELOW_SPEECH_DB = (2.0, 10.0)
MOST_SECONDS = 6.0
CLIPS = {"train": 4000, "test": 100, "test_spoken": 100}


def main() -> None:
    """Write clips and ``mixes.jsonl`` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True, help="folder with speech.jsonl")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(write_manifest(options.out / "mixes.jsonl", _examples(options.clips / "speech.jsonl", options.out)), "clips")


def mix(speech: Samples, sound: Samples, below_db: float) -> Samples:
    """Speech with the sound repeated under it, that many dB below it by power."""
    under = np.resize(sound, speech.size)
    level = float(np.sqrt(np.mean(speech**2) / max(float(np.mean(under**2)), 1e-12))) * 10 ** (-below_db / 20)
    return at_peak((speech + level * under).astype(np.float32), 0.7)


def _examples(speech: Path, out: Path) -> Iterator[Example]:
    for split, count in CLIPS.items():
        held_out = "train" if split == "train" else "test"
        spoken = [example for example in read_manifest(speech, held_out).examples if example.seconds <= MOST_SECONDS]
        chance = random.Random(split)
        for number in range(count):
            by_voice = split == "test_spoken" or (split == "train" and number % 2 == 1)
            task = "mixed_sound" if number // 2 % 2 else "mixed_speech"
            yield _example(task, chance.choice(spoken), split, number, by_voice, out)


def _example(task: str, speech: Example, split: str, number: int, by_voice: bool, out: Path) -> Example:
    name = f"{task}-{split}-{number:04d}"
    chance, training = random.Random(name), split == "train"
    sound = chance.choice(CLASSES)
    background, _ = make_sound(sound, "train" if training else "test", chance)
    clip = mix(read_clip(speech.paths[0]), background, chance.uniform(*SOUND_BELOW_SPEECH_DB))
    audio = [write_clip(clip, out, f"mixes/{name}.wav")]
    prompt = _prompt(BEHIND if task == "mixed_sound" else SAID, training, by_voice, chance)
    if by_voice:
        audio.append(instruction_clip(prompt, chance.choice(flite.VOICES), out))
    wanted = answer(sound) if task == "mixed_sound" else speech.answer
    return Example(
        id=f"mixes/{name}",
        task=task,
        split=split,
        license=f"{speech.license}; {FORMULA_LICENSE if sound in FORMULAS else STAMPS_LICENSE}",
        source=f"{speech.id} over {sound}",
        audio=audio,
        words=speech.words,
        traits={**speech.traits, "sound": sound},
        messages=[user_turn("" if by_voice else prompt, len(audio)), assistant_turn(wanted)],
        choices=list(CLASSES) if task == "mixed_sound" else [],
    )


def _prompt(wordings: tuple[str, ...], training: bool, by_voice: bool, chance: random.Random) -> str:
    *trained, unseen = wordings
    if training:
        return wording(tuple(trained), chance)
    return unseen if by_voice else trained[0]


if __name__ == "__main__":
    main()
