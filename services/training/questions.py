"""Further questions about a clip, of those its traits answer.

A clip costs more than a question about it: 75 embeddings for three seconds, where "Man or woman?" and its answer take
ten tokens. So SFT asks several at once (see ``collate``). Among them are questions about sounds that are not there.
"""

import random
from dataclasses import replace

from services.evaluation.manifest import Example, assistant_turn, user_turn
from services.training.data.prompts import ABOUT, ABSENT, BEHIND, SOUND, presence_question, wording
from services.training.data.sounds import CLASSES, answer
from services.training.traits import NOTHING

# Of the yes-or-no questions about a clip that has a sound; one that has none is asked about absent sounds only.
PRESENT_SHARE = 0.6


def further_questions(example: Example, chance: random.Random, count: int) -> list[Example]:
    """At most ``count`` questions about the example's clip, none of them its own."""
    if len(example.audio) != 1:
        return []
    found = [
        _ask(example, wording(ABOUT[task], chance), answer(value))
        for task, value in example.traits.items()
        if task in ABOUT and task != example.task and value != NOTHING
    ]
    if "sound" in example.traits:
        found += _about_sound(example, example.traits["sound"], chance)
    return chance.sample(found, min(count, len(found)))


def _about_sound(example: Example, sound: str, chance: random.Random) -> list[Example]:
    present = sound != NOTHING and chance.random() < PRESENT_SHARE
    name = sound if present else chance.choice([name for name in CLASSES if name != sound])
    found = [_ask(example, presence_question(wording(ABSENT, chance), name), "Yes." if present else "No.")]
    if sound != NOTHING and example.task not in ("sound", "mixed_sound"):
        behind_speech = example.task == "mixed_speech"
        found.append(_ask(example, wording(BEHIND[:-1] if behind_speech else SOUND, chance), answer(sound)))
    return found


def _ask(example: Example, question: str, wanted: str) -> Example:
    return replace(example, messages=[user_turn(question, 1), assistant_turn(wanted)])
