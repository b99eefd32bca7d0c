"""Tokens are chosen as transformers' logits processors would have it, and a seed repeats them."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from services.common.generation import GenerationParams
from services.decoder.sampling import Sampler, distribution, sample

pytestmark = pytest.mark.unit

VOCABULARY = 200


def logits_of(seed: int, rows: int = 1) -> Tensor:
    return 3 * torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("top_k", [0, 1, 7, 1000])
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.3, 1e-6])
def test_the_distribution_is_that_of_transformers(temperature: float, top_k: int, top_p: float) -> None:
    warpers: Any = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    logits = logits_of(0)
    expected = warpers(torch.zeros(1, 1, dtype=torch.long), logits.clone())[0].softmax(-1)
    weights = distribution(logits[0], GenerationParams(temperature=temperature, top_k=top_k, top_p=top_p))
    torch.testing.assert_close(weights / weights.sum(), expected, atol=1e-6, rtol=1e-4)


def test_tokens_are_drawn_in_proportion() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -5.0])
    sampler = Sampler(GenerationParams(temperature=1.0, seed=3), [0])
    draws = Counter(sampler.choose(logits) for _ in range(4000))
    for token, probability in enumerate(logits.softmax(-1).tolist()):
        assert draws[token] / 4000 == pytest.approx(probability, abs=0.03)


def test_the_repetition_penalty_is_that_of_transformers_over_prompt_and_answer() -> None:
    prompt, seen = [5, 9, 9, 100], [5, 9, 9, 100]
    sampler = Sampler(GenerationParams(repetition_penalty=1.8), prompt)
    processor = RepetitionPenaltyLogitsProcessor(1.8)
    penalty_mattered = False
    for step in range(40):
        # Of either sign: the penalty divides positive logits and multiplies negative ones.
        logits = logits_of(step) - (30.0 if step % 2 else 0.0)
        logits[0, seen] += 3.0
        expected = int(processor(torch.tensor([seen]), logits.clone()).argmax())
        assert sampler.choose(logits[0]) == expected
        penalty_mattered |= expected != int(logits.argmax())
        seen.append(expected)
    assert penalty_mattered


def test_logits_are_left_as_they_are() -> None:
    logits = logits_of(1)
    before = logits.clone()
    for params in (GenerationParams(repetition_penalty=2.0), GenerationParams(temperature=0.5, top_k=3, top_p=0.5)):
        Sampler(params, [1, 2]).choose(logits[0])
    torch.testing.assert_close(logits, before, atol=0, rtol=0)


def test_a_seed_repeats_itself_and_no_seed_does_not() -> None:
    def draws(seed: int | None) -> list[int]:
        sampler = Sampler(GenerationParams(temperature=1.5, seed=seed), [0])
        return [sampler.choose(logits_of(step)[0]) for step in range(30)]

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)
    assert draws(None) != draws(None)
    draws(2**64 - 1)


def test_what_others_in_the_batch_do_changes_nothing() -> None:
    mine, other = GenerationParams(temperature=1.0, top_p=0.8, seed=1), GenerationParams(temperature=1.0, seed=2)
    alone, together = Sampler(mine, [0]), [Sampler(other, [0]), Sampler(mine, [0]), Sampler(GenerationParams(), [0])]
    for step in range(20):
        logits = logits_of(step, rows=3)
        chosen = sample(logits, together)
        assert chosen[1] == alone.choose(logits[1])
        assert chosen[2] == int(logits[2].argmax())


@pytest.mark.parametrize("temperature", [1e-320, 1e-5, 1e-3, 2.0])
def test_no_temperature_overflows(temperature: float) -> None:
    logits = torch.tensor([1e30, 2.0, -1e30])
    assert Sampler(GenerationParams(temperature=temperature), [0]).choose(logits) == 0


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_row_that_is_not_finite_has_no_token_and_harms_no_other(bad: float) -> None:
    logits = logits_of(0, rows=2)
    logits[0, 3] = bad
    sampled = Sampler(GenerationParams(temperature=1.0), [0])
    assert sample(logits, [sampled, Sampler(GenerationParams(), [0])]) == [None, int(logits[1].argmax())]
