"""A benchmark is a task: its examples, how answers to them are scored, and what guessing would score.

Training draws from the same manifests (other splits of them) and may ask the same questions.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from services.evaluation.manifest import Example
from services.evaluation.scores import Score, choice_accuracy, containment, false_yes, word_error_rate

HELD_OUT_SPLITS = ("test", "test_voice", "test_long", "test_spoken")


@dataclass(frozen=True)
class Kind:
    """A kind of question.

    Attributes:
        evaluate: from answers and examples to the score.
        chance: the score of guessing evenly among the choices; of saying nothing where there are none.
    """

    evaluate: Callable[[Sequence[str], Sequence[Example]], Score]
    chance: Callable[[Sequence[Example]], float]


@dataclass(frozen=True)
class Task:
    """Held-out examples of one kind and split, in a fixed order; answers are given in the same."""

    name: str
    split: str
    kind: Kind
    examples: Sequence[Example]

    @property
    def title(self) -> str:
        """As it stands in tables."""
        return f"{self.name} {self.split}"

    @property
    def chance(self) -> float:
        """See ``Kind``."""
        return self.kind.chance(self.examples)

    def score(self, answers: Sequence[str]) -> Score:
        """Score one answer per example.

        Raises:
            ValueError: another number of answers than examples.
        """
        if len(answers) != len(self.examples):
            raise ValueError(f"{self.title}: {len(answers)} answers to {len(self.examples)} examples")
        return self.kind.evaluate(answers, self.examples)


def _transcription(answers: Sequence[str], examples: Sequence[Example]) -> Score:
    return word_error_rate(answers, [example.answer for example in examples])


def _closed_question(answers: Sequence[str], examples: Sequence[Example]) -> Score:
    references = [example.answer for example in examples]
    return choice_accuracy(answers, references, [example.choices for example in examples])


def _open_question(answers: Sequence[str], examples: Sequence[Example]) -> Score:
    return containment(answers, [example.choices[0] for example in examples])


def _absent_sound(answers: Sequence[str], examples: Sequence[Example]) -> Score:
    return false_yes(answers)


def _even_guess(examples: Sequence[Example]) -> float:
    return sum(1 / len(example.choices) for example in examples) / len(examples)


CLOSED = Kind(_closed_question, _even_guess)
OPEN = Kind(_open_question, lambda examples: 0.0)
KINDS = {
    "transcription": Kind(_transcription, lambda examples: 1.0),
    "sound": CLOSED,
    "spoken_question": OPEN,
    "typed_question": OPEN,
    "present_sound": CLOSED,
    "absent_sound": Kind(_absent_sound, _even_guess),
    "instrument": CLOSED,
    "mode": CLOSED,
    "tempo": CLOSED,
    "language": CLOSED,
    "gender": CLOSED,
    "speakers": CLOSED,
    "mixed_sound": CLOSED,
    "mixed_speech": Kind(_transcription, lambda examples: 1.0),
}


def held_out_tasks(examples: Iterable[Example], limit: int | None = None) -> list[Task]:
    """A task for every kind and held-out split among the examples, each with at most ``limit``, evenly taken."""
    groups: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for example in examples:
        if example.task in KINDS and example.split in HELD_OUT_SPLITS:
            groups[example.task, example.split].append(example)
    return [Task(name, split, KINDS[name], _evenly(found, limit)) for (name, split), found in sorted(groups.items())]


def _evenly(examples: list[Example], limit: int | None) -> list[Example]:
    if limit is None or limit >= len(examples):
        return examples
    return [examples[index * len(examples) // limit] for index in range(limit)]
