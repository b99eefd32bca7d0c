"""Voices: which language is spoken, by a man or a woman, by one speaker or two.

    python -m services.training.data.voices --out FOLDER

Half of the language clips are recordings of people where there are any (all but German), the rest is espeak-ng's.
Held out: for languages by voice (espeak-ng) or by recording (people), for the other tasks by voice; always by sentence.
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.evaluation.manifest import Example, assistant_turn, user_turn, write_manifest
from services.qwen2_audio.mel import SAMPLE_RATE_HZ
from services.training.data.clips import Samples, at_peak, heard_as, write_clip
from services.training.data.phrases import LANGUAGES
from services.training.data.prompts import ABOUT, wording
from services.training.data.speakers import Voice, voices
from services.training.traits import NOTHING

GENDERS, COUNTS = ("man", "woman"), ("one", "two")
CHOICES = {"language": LANGUAGES, "gender": GENDERS, "speakers": COUNTS}
CLIPS = {"language": (200, 20), "gender": (400, 40), "speakers": (400, 40)}  # per answer: training, test
PAUSE_SECONDS = (0.1, 0.4)


@dataclass(frozen=True)
class Made:
    """A clip, and the voices heard in it."""

    clip: Samples
    heard: tuple[Voice, ...]


def main() -> None:
    """Write clips and ``voices.jsonl`` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(write_manifest(options.out / "voices.jsonl", _examples(options.out)), "clips")


def make(task: str, answer: str, training: bool, chance: random.Random, all_voices: Sequence[Voice]) -> Made:
    """One clip whose right answer is the given one."""
    if task == "language":
        return _in_language(answer, training, chance, all_voices)
    known = [voice for voice in all_voices if voice.held_out != training]
    if task == "gender":
        return _spoken([chance.choice([voice for voice in known if voice.gender == answer])], training, chance)
    first, second = chance.sample(known, 2)
    return _spoken([first, first if answer == "one" else second], training, chance)


def _in_language(language: str, training: bool, chance: random.Random, all_voices: Sequence[Voice]) -> Made:
    able = [voice for voice in all_voices if language in voice.languages]
    people = [voice for voice in able if voice.recorded]
    synthesized = [voice for voice in able if not voice.recorded and voice.held_out != training]
    voice = chance.choice(people if people and chance.random() < 0.5 else synthesized)
    return Made(voice.speak(language, training, chance), (voice,))


def _spoken(speakers: list[Voice], training: bool, chance: random.Random) -> Made:
    """One utterance after another, with a short pause; all in a language that the first one speaks."""
    language = chance.choice(speakers[0].languages)
    parts: list[Samples] = []
    for voice in speakers:
        parts += [_pause(chance)] if parts else []
        spoken = language if language in voice.languages else chance.choice(voice.languages)
        parts.append(voice.speak(spoken, training, chance))
    return Made(at_peak(np.concatenate(parts), 0.7), tuple(speakers))


def _pause(chance: random.Random) -> Samples:
    return np.zeros(int(chance.uniform(*PAUSE_SECONDS) * SAMPLE_RATE_HZ), np.float32)


def _examples(out: Path) -> Iterator[Example]:
    for task, (train, test) in CLIPS.items():
        for answer in CHOICES[task]:
            for number in range(train + test):
                yield _example(task, answer, number, number < train, out)


def _example(task: str, answer: str, number: int, training: bool, out: Path) -> Example:
    name = f"{task}-{answer}-{'train' if training else 'test'}-{number:03d}"
    chance = random.Random(name)
    made = make(task, answer, training, chance, voices())
    prompt = wording(ABOUT[task], chance) if training else ABOUT[task][0]
    return Example(
        id=f"voices/{name}",
        task=task,
        split="train" if training else "test",
        license="; ".join(sorted({voice.license for voice in made.heard})),
        source=", ".join(voice.name for voice in made.heard),
        audio=[write_clip(made.clip, out, f"voices/{name}.wav")],
        messages=[user_turn(prompt, 1), assistant_turn(f"{answer.capitalize()}.")],
        # Frames of English are aligned to its words, by other data; foreign speech is heard as its language.
        words=heard_as(answer, made.clip) if task == "language" and answer != "English" else [],
        traits=_traits(task, answer, made.heard),
        choices=list(CHOICES[task]),
    )


def _traits(task: str, answer: str, heard: tuple[Voice, ...]) -> dict[str, str]:
    """What is known of the clip besides the answer: a language clip's speaker may be kept for tests about voices."""
    traits = {"sound": NOTHING, task: answer}
    genders = {voice.gender for voice in heard}
    if task == "speakers" and len(genders) == 1:
        traits["gender"] = genders.pop()
    if task == "gender":
        traits["speakers"] = "one"
    return traits


if __name__ == "__main__":
    main()
