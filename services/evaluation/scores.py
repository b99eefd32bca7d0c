"""Scores of answers against what was wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import jiwer
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer


@dataclass(frozen=True)
class Score:
    """One figure over a set of answers.

    Attributes:
        name: ``wer`` (lower is better), ``accuracy``, ``contains`` (higher is better) or ``false_yes`` (lower).
        unparsable: answers that name none of the choices, or several; they count as wrong.
    """

    name: str
    value: float
    answers: int
    unparsable: int = 0


def word_error_rate(answers: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus-level WER after Whisper's English normalization; references that normalize to nothing are left out."""
    normalize = _normalizer()
    pairs = [(normalize(reference), normalize(answer)) for answer, reference in zip(answers, references, strict=True)]
    kept = [(reference, answer) for reference, answer in pairs if reference]
    wer = jiwer.wer([reference for reference, _ in kept], [answer for _, answer in kept])
    return Score("wer", float(wer), len(kept))


def chosen(answer: str, choices: Sequence[str]) -> str | None:
    """The one choice an answer names; None if it names none, or several that are not part of one another."""
    words = f" {_normalizer()(answer)} "
    named = [choice for choice in choices if f" {_normalizer()(choice)} " in words]
    longest = [choice for choice in named if not any(choice != other and choice in other for other in named)]
    return longest[0] if len(longest) == 1 else None


def choice_accuracy(answers: Sequence[str], references: Sequence[str], choices: Sequence[Sequence[str]]) -> Score:
    """Share of answers that name the choice the reference names, and no other."""
    picked = [chosen(answer, allowed) for answer, allowed in zip(answers, choices, strict=True)]
    wanted = [chosen(reference, allowed) for reference, allowed in zip(references, choices, strict=True)]
    right = sum(a is not None and a == b for a, b in zip(picked, wanted, strict=True))
    return Score("accuracy", right / len(answers), len(answers), picked.count(None))


def containment(answers: Sequence[str], keys: Sequence[str]) -> Score:
    """Share of answers that contain the words a right answer has, after normalization of both."""
    normalize = _normalizer()
    right = sum(f" {normalize(key)} " in f" {normalize(answer)} " for answer, key in zip(answers, keys, strict=True))
    return Score("contains", right / len(answers), len(answers))


def false_yes(answers: Sequence[str]) -> Score:
    """Share of "yes" among answers to questions about sounds that are absent; neither yes nor no counts as wrong."""
    picked = [chosen(answer, ("yes", "no")) for answer in answers]
    wrong = sum(answer != "no" for answer in picked)
    return Score("false_yes", wrong / len(answers), len(answers), picked.count(None))


@cache
def _normalizer() -> EnglishTextNormalizer:
    return EnglishTextNormalizer({})
