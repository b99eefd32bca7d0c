"""The packed forward pass computes what Qwen2ForCausalLM computes, however the tokens are packed."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM

from services.decoder.kv_cache import BlockTable, KVCache, blocks_of
from services.decoder.linear import Weights
from services.decoder.model import Qwen2Model, Span
from services.qwen2_audio.config import text_config
from services.qwen2_audio.weights import Checkpoint

pytestmark = pytest.mark.unit

CONTEXT_TOKENS = 512
TOLERANCE = 2e-4  # on logits with a standard deviation of about 6

MakeCache = Callable[..., KVCache]


def table_of(cache: KVCache, tokens: int, *, scattered: bool = False) -> BlockTable:
    """Blocks for so many tokens; scattered ones do not follow each other."""
    table = BlockTable(CONTEXT_TOKENS, "cpu")
    if scattered:
        blocks = cache.pool.take(2 * blocks_of(tokens))
        assert blocks
        table.append(blocks[::-2])
        assert not table.in_a_row
    else:
        assert cache.extend(table, tokens)
    return table


def prompt(length: int, seed: int) -> list[int]:
    return torch.randint(0, 400, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


@torch.inference_mode()
def last_logits(reference: Qwen2ForCausalLM, token_ids: Sequence[int]) -> Tensor:
    return reference(torch.tensor([token_ids])).logits[0, -1]


@torch.inference_mode()
def forward(model: Qwen2Model, token_ids: Sequence[int], spans: list[Span], rows: list[int], cache: Any) -> Tensor:
    return model.forward(model.embed(token_ids), spans, rows, cache)


def test_sequences_packed_together_are_computed_as_if_alone(
    model: Qwen2Model, make_cache: MakeCache, reference: Qwen2ForCausalLM
) -> None:
    prompts = [prompt(length, seed) for seed, length in enumerate((7, 1, 40, 2))]
    cache = make_cache()
    spans, rows, total = [], [], 0
    for tokens in prompts:
        spans.append(Span(len(tokens), 0, table_of(cache, len(tokens))))
        total += len(tokens)
        rows.append(total - 1)
    logits = forward(model, list(itertools.chain(*prompts)), spans, rows, cache)
    for row, tokens in zip(logits, prompts, strict=True):
        torch.testing.assert_close(row, last_logits(reference, tokens), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("scattered", [False, True])
def test_a_prompt_in_pieces_is_computed_as_if_whole(
    model: Qwen2Model, make_cache: MakeCache, reference: Qwen2ForCausalLM, scattered: bool
) -> None:
    tokens, cache = prompt(40, 1), make_cache()
    table = table_of(cache, 40, scattered=scattered)
    for begin, end in ((0, 11), (11, 12), (12, 40)):
        span = Span(end - begin, begin, table)
        logits = forward(model, tokens[begin:end], [span], [end - begin - 1], cache)
        torch.testing.assert_close(logits[0], last_logits(reference, tokens[:end]), atol=TOLERANCE, rtol=0)


def test_decoding_beside_a_prefill_changes_neither(
    model: Qwen2Model, make_cache: MakeCache, reference: Qwen2ForCausalLM
) -> None:
    running, arriving, cache = prompt(12, 2), prompt(9, 3), make_cache()
    table = table_of(cache, 12)
    forward(model, running[:-1], [Span(11, 0, table)], [10], cache)
    spans = [Span(1, 11, table), Span(9, 0, table_of(cache, 9))]
    logits = forward(model, [running[-1], *arriving], spans, [0, 9], cache)
    torch.testing.assert_close(logits[0], last_logits(reference, running), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(logits[1], last_logits(reference, arriving), atol=TOLERANCE, rtol=0)


def test_slots_that_another_sequence_left_behind_are_not_seen(model: Qwen2Model, make_cache: MakeCache) -> None:
    tokens = prompt(6, 4)
    clean, dirty = make_cache(), make_cache()
    table = table_of(dirty, 300)
    forward(model, prompt(300, 5), [Span(300, 0, table)], [299], dirty)
    span = Span(6, 0, table)
    torch.testing.assert_close(
        forward(model, tokens, [span], [5], dirty), forward(model, tokens, [span], [5], clean), atol=0, rtol=0
    )


def test_only_wanted_rows_have_logits(model: Qwen2Model, make_cache: MakeCache) -> None:
    cache = make_cache()
    assert forward(model, prompt(5, 6), [Span(5, 0, table_of(cache, 5))], [], cache).shape == (0, 512)


@pytest.mark.parametrize(
    ("dtype", "weights"),
    [
        (torch.bfloat16, Weights.FULL),
        (torch.float16, Weights.FULL),
        (torch.float32, Weights.FP16),
        (torch.float32, Weights.INT8),
    ],
)
def test_lower_precision_stays_near(
    checkpoint: Checkpoint, make_cache: MakeCache, reference: Qwen2ForCausalLM, dtype: torch.dtype, weights: Weights
) -> None:
    config = text_config(checkpoint.config)
    lower = Qwen2Model(config, checkpoint.text_tensors(), CONTEXT_TOKENS, dtype, precision=weights)
    cache = make_cache(dtype=dtype)
    tokens = prompt(20, 7)
    logits = forward(lower, tokens, [Span(20, 0, table_of(cache, 20))], [19], cache)[0]
    expected = last_logits(reference, tokens)
    assert logits.dtype == torch.float32
    assert not torch.allclose(logits, expected, atol=TOLERANCE / 10)
    assert torch.corrcoef(torch.stack([logits, expected]))[0, 1] > 0.99


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "gelu"),
        ("rope_parameters", {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}),
        ("layer_types", ["sliding_attention"] * 3),
    ],
)
def test_a_config_that_asks_for_more_is_refused(checkpoint: Checkpoint, field: str, value: Any) -> None:
    config = text_config(checkpoint.config)
    changed = type(config).from_dict(config.to_dict())
    setattr(changed, field, value)
    with pytest.raises(ValueError, match="not supported"):
        Qwen2Model(changed, checkpoint.text_tensors(), CONTEXT_TOKENS)
