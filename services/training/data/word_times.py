"""When each word of an utterance is spoken, from the times of its phones.

Speech synthesis names phones, not words. The phones of every word said alone are laid against those of the sentence by
edit distance (a word in a sentence may lose or change a phone), which gives each word its first and last phone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.training.data.flite import SILENCE, Phone


@dataclass(frozen=True)
class WordTime:
    """A word as written, and when it is heard."""

    text: str
    start_seconds: float
    end_seconds: float


def word_times(words: Sequence[str], pronounced: Sequence[Sequence[str]], phones: Sequence[Phone]) -> list[WordTime]:
    """Times of the words; a word none of whose phones is heard is left out.

    Args:
        words: as written, in order.
        pronounced: for each word its phones, said alone.
        phones: the utterance.
    """
    starts = [0.0, *[phone.end_seconds for phone in phones[:-1]]]
    owner = [index for index, word in enumerate(pronounced) for _ in word]
    expected = [phone for word in pronounced for phone in word]
    spans: dict[int, tuple[float, float]] = {}
    for position, heard in _aligned(expected, [phone.name for phone in phones]):
        word = owner[position]
        first = spans[word][0] if word in spans else starts[heard]
        spans[word] = (first, phones[heard].end_seconds)
    return [WordTime(words[index], *spans[index]) for index in sorted(spans)]


def _aligned(expected: Sequence[str], heard: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of positions matched or substituted on the cheapest path."""
    cost = _edit_costs(expected, heard)
    pairs = []
    row, column = len(expected), len(heard)
    while row and column:
        step = _substitution(expected[row - 1], heard[column - 1])
        if cost[row][column] == cost[row - 1][column - 1] + step:
            row, column = row - 1, column - 1
            pairs.append((row, column))
        elif cost[row][column] == cost[row - 1][column] + 1:
            row -= 1
        else:
            column -= 1
    return pairs[::-1]


def _edit_costs(expected: Sequence[str], heard: Sequence[str]) -> list[list[float]]:
    cost = [[float(column) for column in range(len(heard) + 1)]]
    for row, phone in enumerate(expected, start=1):
        line = [float(row)]
        for column, other in enumerate(heard, start=1):
            replaced = cost[row - 1][column - 1] + _substitution(phone, other)
            line.append(min(replaced, cost[row - 1][column] + 1, line[-1] + 1))
        cost.append(line)
    return cost


def _substitution(expected: str, heard: str) -> float:
    """Silence is never a phone; any two phones can stand for each other."""
    if SILENCE in (expected, heard):
        return 2.5
    return 0.0 if expected == heard else 1.0
