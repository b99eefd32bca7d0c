"""Voice chat: questions and commands spoken, with nothing typed beside them; and the same typed, with no audio.

    python -m services.training.data.questions --out FOLDER

Held out by wording (the last of each intent) and, for ``test_voice``, by voice as well. Typed questions on other
subjects come with the answers the untouched language model gives (``--base``), so that training keeps its manners.
"""

import argparse
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

from services.evaluation.manifest import Example, assistant_turn, user_turn, write_manifest
from services.training.data import flite
from services.training.data.clips import write_clip
from services.training.data.facts import Intent, shuffled_intents
from services.training.data.speech import TAPE_SPEED_RANGE, TEMPO_RANGE, UNSEEN_VOICE, speak_festival, speak_words
from services.training.data.word_times import WordTime
from services.training.traits import NOTHING

LICENSE = f"text Apache-2.0; {flite.LICENSE}"
SPOKEN_PER_INTENT = 8


def main() -> None:
    """Write clips and ``questions.jsonl`` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(write_manifest(options.out / "questions.jsonl", _examples(options.out)), "examples")


def _examples(out: Path) -> Iterator[Example]:
    for index, intent in enumerate(shuffled_intents(seed=3)):
        *trained, unseen = intent.wordings
        for number in range(SPOKEN_PER_INTENT):
            text, voice = trained[number % len(trained)], flite.VOICES[(index + number) % len(flite.VOICES)]
            yield _spoken(intent, text, voice, "train", out)
        yield from (_typed(intent, text) for text in trained)
        yield _spoken(intent, unseen, flite.VOICES[index % len(flite.VOICES)], "test", out)
        if index % 4 == 0:
            yield _spoken(intent, unseen, UNSEEN_VOICE, "test_voice", out)


def _spoken(intent: Intent, text: str, voice: str, split: str, out: Path) -> Example:
    chance = random.Random(f"{text} {voice}")
    words: list[WordTime] = []
    if voice == UNSEEN_VOICE:
        clip = speak_festival(text, voice)
    elif split == "train":
        clip, words = speak_words(text, voice, chance.uniform(*TEMPO_RANGE), chance.uniform(*TAPE_SPEED_RANGE))
    else:
        clip, words = speak_words(text, voice, 1.0, 1.0)
    name = hashlib.sha256(f"{text} {voice}".encode()).hexdigest()[:16]
    return Example(
        id=f"questions/{name}",
        task="spoken_question",
        split=split,
        license=LICENSE,
        source=voice,
        audio=[write_clip(clip, out, f"questions/{name}.wav")],
        messages=[user_turn("", 1), assistant_turn(intent.answer)],
        words=[(word.text, round(word.start_seconds, 3), round(word.end_seconds, 3)) for word in words],
        traits={**flite.traits(voice), "sound": NOTHING} if split == "train" else {},
        choices=[intent.key],
    )


def _typed(intent: Intent, text: str) -> Example:
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Example(
        id=f"typed/{name}",
        task="typed_question",
        split="train",
        license="Apache-2.0",
        source="facts",
        audio=[],
        messages=[user_turn(text, 0), assistant_turn(intent.answer)],
        choices=[intent.key],
    )


if __name__ == "__main__":
    main()
