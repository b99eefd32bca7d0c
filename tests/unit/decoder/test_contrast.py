"""Audio-aware decoding: its rule holds token for token in any company, and a sequence and its shadow live together."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from services.common.errors import DeadlineExceeded
from services.decoder.core import EngineCore
from services.decoder.engine import AudioSpan, Priority
from services.decoder.sequence import Sequence
from tests.unit.decoder.test_engine_core import prompt, run

pytestmark = pytest.mark.unit

MakeCore = Callable[..., EngineCore]
MakeSequence = Callable[..., Sequence]
MAX_NEW = 16
SOUND = [AudioSpan(5, np.random.default_rng(0).standard_normal((30, 64)).astype("f4"))]


@torch.inference_mode()
def expected(reference: Any, token_ids: list[int], strength: float) -> list[int]:
    """Greedy answer by the paper's rule, each prompt on its own and nothing kept between the steps."""
    (span,) = SOUND
    embed = reference.get_input_embeddings()
    heard = embed(torch.tensor(token_ids)).clone()
    heard[span.start : span.start + 30] = torch.tensor(span.embeddings)
    silent = embed(torch.tensor(token_ids[: span.start] + token_ids[span.start + 30 :]))
    answer: list[int] = []

    def logits(prompt_embeddings: Tensor) -> Tensor:
        whole = torch.cat((prompt_embeddings, embed(torch.tensor(answer, dtype=torch.long))))
        return reference(inputs_embeds=whole[None]).logits[0, -1]

    for _ in range(MAX_NEW):
        answer.append(int(((1 + strength) * logits(heard) - strength * logits(silent)).argmax()))
    return answer


@pytest.mark.parametrize(("capacity_tokens", "max_running", "step_rows"), [(1024, 8, 64), (256, 3, 7), (208, 8, 16)])
def test_the_rule_of_the_paper_holds_beside_others_in_pieces_and_when_preempted(
    make_core: MakeCore,
    make_sequence: MakeSequence,
    reference: Any,
    capacity_tokens: int,
    max_running: int,
    step_rows: int,
) -> None:
    core = make_core(capacity_tokens, max_running, step_rows)
    core._end_tokens = frozenset()
    prompts = [prompt(50 + 3 * seed, seed) for seed in range(3)]
    aware = [
        make_sequence(ids, MAX_NEW, SOUND, audio_contrast=strength)
        for ids, strength in zip(prompts, (1, 0.5, 4), strict=True)
    ]
    plain = [make_sequence(prompts[0], MAX_NEW, SOUND, priority=Priority.BULK), make_sequence(prompts[1], MAX_NEW)]
    alone = [make_sequence(s.request.token_ids, MAX_NEW, s.request.audio) for s in plain]
    for sequence in alone:
        run(make_core(), [sequence])
    run(core, [plain[0], *aware, plain[1]], join_every=2)
    for sequence in aware:
        strength = sequence.request.params.audio_contrast
        assert sequence.generated == expected(reference, list(sequence.request.token_ids), strength)
    assert [s.generated for s in plain] == [s.generated[:MAX_NEW] for s in alone]
    assert aware[0].generated != plain[0].generated


def test_without_audio_or_strength_it_is_plain_decoding(make_core: MakeCore, make_sequence: MakeSequence) -> None:
    plain = make_sequence(prompt(30, 1), MAX_NEW)
    silent = make_sequence(prompt(30, 1), MAX_NEW, audio_contrast=2.0)
    heard = make_sequence(prompt(50, 1), MAX_NEW, SOUND)
    zero = make_sequence(prompt(50, 1), MAX_NEW, SOUND, audio_contrast=0.0)
    run(make_core(), [plain, silent, heard, zero])
    assert silent.generated == plain.generated
    assert zero.generated == heard.generated
    assert not zero.shadow


def test_a_seed_gives_the_same_text_alone_and_in_a_batch(make_core: MakeCore, make_sequence: MakeSequence) -> None:
    def sampled() -> Sequence:
        return make_sequence(prompt(50, 1), MAX_NEW, SOUND, audio_contrast=1.0, temperature=1.2, seed=3)

    run(make_core(), [alone := sampled()])
    run(make_core(step_rows=9), [make_sequence(prompt(30, 9), MAX_NEW), together := sampled()])
    assert together.generated == alone.generated


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_both_leave_together(make_core: MakeCore, make_sequence: MakeSequence, steps: int) -> None:
    core = make_core()
    core.add(cancelled := make_sequence(prompt(50, 1), MAX_NEW, SOUND, audio_contrast=1.0))
    core.add(late := make_sequence(prompt(50, 2), MAX_NEW, SOUND, audio_contrast=1.0, deadline=float("inf")))
    for _ in range(steps):
        core.step()
    core.scheduler.remove(cancelled)
    object.__setattr__(late.request, "deadline", 0.0)
    ((ended, error),) = core.step()
    assert ended is late
    assert isinstance(error, DeadlineExceeded)
    assert not core.scheduler.has_work
    assert core.cache.used_tokens == 0
