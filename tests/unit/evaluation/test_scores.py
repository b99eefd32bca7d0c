"""Scores count what they say, and an answer that cannot be read is wrong."""

import pytest

from services.evaluation.scores import choice_accuracy, chosen, containment, false_yes, word_error_rate

pytestmark = pytest.mark.unit

ANIMALS = ("dog", "cow", "fire truck", "truck")


def test_wer_ignores_case_and_punctuation() -> None:
    score = word_error_rate(["the children walked"], ["The children walked."])
    assert score.value == 0.0


def test_wer_is_over_the_whole_corpus() -> None:
    score = word_error_rate(["a dog barks there", "cow"], ["a dog barks here", "sheep"])
    assert score.value == pytest.approx(2 / 5)


def test_a_choice_within_a_longer_one_is_the_longer_one() -> None:
    assert chosen("I hear a fire truck.", ANIMALS) == "fire truck"


def test_answers_that_name_none_or_several_are_wrong_and_counted() -> None:
    score = choice_accuracy(["Dog.", "A noise.", "a dog or a cow"], ["dog", "cow", "dog"], [ANIMALS] * 3)
    assert (score.value, score.unparsable) == (pytest.approx(1 / 3), 2)


def test_containment_takes_whole_words() -> None:
    assert containment(["It is eighteen.", "It is eight."], ["eight", "eight"]).value == 0.5


def test_false_yes_counts_everything_but_no() -> None:
    score = false_yes(["No, I do not.", "Yes.", "Perhaps."])
    assert (score.value, score.unparsable) == (pytest.approx(2 / 3), 1)
