"""Preference pairs for DPO, over clips that other scripts made: truth about sounds, and transcripts to the word.

    python -m services.training.data.pairs --clips FOLDER

Reads ``sounds.jsonl`` and ``speech.jsonl`` of the folder and writes ``pairs.jsonl``. Questions name a sound that is
there or, as often, one that is not; the worse answer is the opposite. A transcript's worse twin has one word of another
sentence in it. A pair lies in the split of its clip: held-out questions are about held-out clips.
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from services.evaluation.manifest import Example, assistant_turn, read_manifest, user_turn, write_manifest
from services.training.data.prompts import ABSENT, presence_question, wording
from services.training.data.sounds import CLASSES

SPLITS = ("train", "test")
TRANSCRIPT_SHARE = 0.1
YES, NO = "Yes.", "No."


def main() -> None:
    """Write ``pairs.jsonl``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    options = parser.parse_args()
    print(write_manifest(options.clips / "pairs.jsonl", _pairs(options.clips)), "pairs")


def _pairs(clips: Path) -> Iterator[Example]:
    for split in SPLITS:
        for example in read_manifest(clips / "sounds.jsonl", split).examples:
            yield from presence(example, random.Random(example.id))
    spoken = read_manifest(clips / "speech.jsonl", "train").examples
    vocabulary = [word for example in spoken for word in example.answer.rstrip(".").split()]
    for example in spoken:
        chance = random.Random(example.id)
        if chance.random() < TRANSCRIPT_SHARE:
            yield replace(example, id=f"pairs/{example.id}", rejected=misheard(example.answer, vocabulary, chance))


def presence(example: Example, chance: random.Random) -> tuple[Example, Example]:
    """A question about the sound that is there, and one about a sound that is not."""
    there = example.answer.rstrip(".").lower()
    absent = chance.choice([name for name in CLASSES if name != there])
    return (
        _asked(example, "present_sound", there, YES, NO, chance),
        _asked(example, "absent_sound", absent, NO, YES, chance),
    )


def misheard(transcript: str, vocabulary: Sequence[str], chance: random.Random) -> str:
    """The transcript with one word replaced by another."""
    words = transcript.rstrip(".").split()
    place = chance.randrange(len(words))
    others = [word for word in chance.sample(vocabulary, 2) if word.lower() != words[place].lower()]
    words[place] = others[0] if others else f"not {words[place]}"
    return " ".join(words) + "."


def _asked(example: Example, task: str, name: str, better: str, worse: str, chance: random.Random) -> Example:
    form = wording(ABSENT, chance) if example.split == "train" else ABSENT[0]
    return replace(
        example,
        id=f"pairs/{task}/{example.id}",
        task=task,
        messages=[user_turn(presence_question(form, name), 1), assistant_turn(better)],
        rejected=worse,
        words=[],
        traits={},
        choices=["yes", "no"],
    )


if __name__ == "__main__":
    main()
