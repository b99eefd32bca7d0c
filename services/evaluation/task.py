"""A benchmark is a task: its examples, and how answers to them are scored. Training draws from the same examples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from services.evaluation.scores import Score, choice_accuracy, containment, false_yes, word_error_rate


class Item(Protocol):
    """What a task needs to know of an example."""

    @property
    def answer(self) -> str:
        """The reference."""

    @property
    def choices(self) -> Sequence[str]:
        """The answers a closed question allows, or the words an open answer must contain."""


ItemT = TypeVar("ItemT", bound=Item)


@dataclass(frozen=True)
class Task(Generic[ItemT]):
    """Examples under one name, and their score.

    Attributes:
        name: as it stands in tables.
        examples: in a fixed order; answers are given in the same.
        evaluate: from answers and examples to the score.
    """

    name: str
    examples: Sequence[ItemT]
    evaluate: Callable[[Sequence[str], Sequence[Item]], Score]

    def score(self, answers: Sequence[str]) -> Score:
        """Score one answer per example.

        Raises:
            ValueError: another number of answers than examples.
        """
        if len(answers) != len(self.examples):
            raise ValueError(f"{self.name}: {len(answers)} answers to {len(self.examples)} examples")
        return self.evaluate(answers, self.examples)


def transcription(answers: Sequence[str], examples: Sequence[Item]) -> Score:
    """Word error rate."""
    return word_error_rate(answers, [example.answer for example in examples])


def closed_question(answers: Sequence[str], examples: Sequence[Item]) -> Score:
    """Exact choice."""
    references = [example.answer for example in examples]
    return choice_accuracy(answers, references, [example.choices for example in examples])


def open_question(answers: Sequence[str], examples: Sequence[Item]) -> Score:
    """Containment of the first of the words given."""
    return containment(answers, [example.choices[0] for example in examples])


def absent_sound(answers: Sequence[str], examples: Sequence[Item]) -> Score:
    """False yes."""
    return false_yes(answers)


SCORERS: dict[str, Callable[[Sequence[str], Sequence[Item]], Score]] = {
    "transcription": transcription,
    "sound": closed_question,
    "spoken_question": open_question,
    "typed_question": open_question,
    "present_sound": closed_question,
    "absent_sound": absent_sound,
}
