"""Steps of many sequences: answers are transformers' in any company, faults stay with their cause, nothing leaks."""

import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch

from services.common.errors import AuricleError, DeadlineExceeded, Internal, InvalidArgument
from services.decoder.core import EngineCore
from services.decoder.engine import AudioSpan, Finish, FinishReason, TokenEvent
from services.decoder.kv_cache import BLOCK_TOKENS
from services.decoder.sequence import Sequence

pytestmark = pytest.mark.unit

MakeCore = Callable[..., EngineCore]
MakeSequence = Callable[..., Sequence]
Events = dict[Sequence, list[TokenEvent | AuricleError]]


def prompt(length: int, seed: int) -> list[int]:
    return torch.randint(0, 400, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def run(core: EngineCore, sequences: Iterable[Sequence], join_every: int = 0) -> Events:
    """Steps until everybody is done; with `join_every` a new one joins only after so many steps."""
    events: Events = {}
    pending = list(sequences)
    steps = 0
    while pending or core.scheduler.has_work:
        while pending and (not join_every or steps >= join_every * len(events)):
            events[pending[0]] = []
            core.add(pending.pop(0))
        for sequence, item in core.step():
            events[sequence].append(item)
        steps += 1
        assert steps < 1000
    assert core.cache.used_tokens == 0
    return events


def text_of(events: list[Any]) -> str:
    return "".join(event.text for event in events)


def finish_of(events: list[Any]) -> Finish:
    """How the answer ended; only its last event tells."""
    assert [event.finish is None for event in events] == [True] * (len(events) - 1) + [False]
    return events[-1].finish


@torch.inference_mode()
def expected_tokens(
    reference: Any, end_tokens: Iterable[int], token_ids: list[int], max_new: int, **config: Any
) -> list[int]:
    prompt_ids = torch.tensor([token_ids])
    ends = sorted(end_tokens)
    out = reference.generate(
        prompt_ids,
        attention_mask=torch.ones_like(prompt_ids),
        max_new_tokens=max_new,
        eos_token_id=ends,
        pad_token_id=ends[0],
        **config,
    )
    return out[0, len(token_ids) :].tolist()


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("join_every", [0, 3])
def test_greedy_answers_are_those_of_generate_in_any_company(
    make_core: MakeCore, make_sequence: MakeSequence, reference: Any, penalty: float, join_every: int
) -> None:
    core = make_core(max_running=5, step_rows=16)
    sequences = [make_sequence(prompt(5 + 7 * n, n), 20, repetition_penalty=penalty) for n in range(12)]
    run(core, sequences, join_every)
    for sequence in sequences:
        expected = expected_tokens(
            reference,
            core._end_tokens,
            list(sequence.request.token_ids),
            20,
            do_sample=False,
            repetition_penalty=penalty,
        )
        assert sequence.generated == expected


def test_a_seed_gives_the_same_text_alone_and_in_a_batch(make_core: MakeCore, make_sequence: MakeSequence) -> None:
    def sampled(seed: int) -> Sequence:
        return make_sequence(prompt(9, 1), 20, temperature=1.2, top_p=0.95, seed=seed)

    alone = []
    for seed in range(4):
        sequence = sampled(seed)
        run(make_core(), [sequence])
        alone.append(sequence.generated)
    assert len({tuple(tokens) for tokens in alone}) == 4
    together = [sampled(seed) for seed in range(4)]
    others = [make_sequence(prompt(30, 50 + n), 20, temperature=1.5) for n in range(4)]
    run(make_core(step_rows=8), [*others, *together])
    assert [sequence.generated for sequence in together] == alone


def test_audio_stands_in_the_places_of_its_placeholders(
    make_core: MakeCore, make_sequence: MakeSequence, reference: Any
) -> None:
    token_ids = prompt(40, 2)
    embeddings = reference.get_input_embeddings()(torch.tensor(token_ids)).detach()
    chance = np.random.default_rng(0)
    spans = [AudioSpan(3, chance.standard_normal((5, 64)).astype("f4")), AudioSpan(20, np.ones((9, 64), "f4"))]
    for span in spans:
        span.embeddings.flags.writeable = False  # as a view of a message's bytes is
        embeddings[span.start : span.start + len(span.embeddings)] = torch.tensor(span.embeddings)
    sequence = make_sequence(token_ids, 12, spans)
    core = make_core(step_rows=16)
    run(core, [sequence])
    with torch.inference_mode():
        expected = reference.generate(
            inputs_embeds=embeddings[None],
            attention_mask=torch.ones(1, 40),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=sorted(core._end_tokens),
            pad_token_id=0,
        )
    assert sequence.generated == expected[0].tolist()


def test_an_answer_ends_by_length_by_end_token_or_by_a_stop_string(
    make_core: MakeCore, make_sequence: MakeSequence
) -> None:
    core = make_core()
    whole = make_sequence(prompt(9, 3), 12)
    (events,) = run(core, [whole]).values()
    assert len(events) == 12
    assert finish_of(events).reason is FinishReason.LENGTH

    core._end_tokens = frozenset([whole.generated[4]])
    (events,) = run(core, [again := make_sequence(prompt(9, 3), 12)]).values()
    assert again.generated == whole.generated[: whole.generated.index(whole.generated[4]) + 1]
    assert finish_of(events).reason is FinishReason.STOP

    core._end_tokens = frozenset()
    text = text_of(run(core, [make_sequence(prompt(9, 3), 12)]).popitem()[1])
    stop = text[len(text) // 2 :][:3]
    (events,) = run(core, [stopped := make_sequence(prompt(9, 3), 12, stop=(stop,))]).values()
    assert text_of(events) == text[: text.index(stop)]
    assert finish_of(events).reason is FinishReason.STOP_STRING
    assert len(stopped.generated) < 12


def test_times_add_up(make_core: MakeCore, make_sequence: MakeSequence) -> None:
    (events,) = run(make_core(), [sequence := make_sequence(prompt(9, 4), 5)]).values()
    finish = finish_of(events)
    assert finish.queue_seconds + finish.prefill_seconds + finish.decode_seconds == pytest.approx(
        sequence.last_token_at - sequence.request.arrival
    )
    assert finish.prefill_seconds > 0
    assert finish.decode_seconds > 0


def test_after_any_cancellations_the_cache_is_empty(make_core: MakeCore, make_sequence: MakeSequence) -> None:
    core, chance, alive = make_core(capacity_tokens=300, max_running=4, step_rows=16), random.Random(0), []
    for round_number in range(300):
        if chance.random() < 0.5:
            alive.append(make_sequence(prompt(chance.randint(1, 60), round_number), chance.randint(1, 30)))
            core.add(alive[-1])
        if alive and chance.random() < 0.4:
            core.scheduler.remove(alive.pop(chance.randrange(len(alive))))
        core.step()
        tables = [sequence.table for sequence in core.scheduler.running]
        held = {block for table in tables if table for block in table.blocks}
        assert core.cache.used_tokens == len(held) * BLOCK_TOKENS <= core.cache.capacity_tokens
    for sequence in alive:
        core.scheduler.remove(sequence)
    assert core.cache.used_tokens == 0
    assert not core.scheduler.has_work


def test_a_cancelled_place_is_taken_in_the_next_step(make_core: MakeCore, make_sequence: MakeSequence) -> None:
    core = make_core(max_running=1)
    first, second = make_sequence(prompt(9, 5), 50), make_sequence(prompt(9, 6), 50)
    for sequence in (first, second):
        core.add(sequence)
    core.step()
    core.scheduler.remove(first)
    assert [sequence for sequence, _ in core.step()] == [second]


def test_a_passed_deadline_ends_with_its_error(make_core: MakeCore, make_sequence: MakeSequence) -> None:
    late, fine = make_sequence(prompt(5, 7), 5, deadline=0.0), make_sequence(prompt(5, 8), 5)
    events = run(make_core(), [late, fine])
    assert [type(item) for item in events[late]] == [DeadlineExceeded]
    assert len(fine.generated) == 5


def test_values_that_are_not_finite_end_their_own_request_alone(
    make_core: MakeCore, make_sequence: MakeSequence
) -> None:
    broken = [AudioSpan(1, np.full((3, 64), np.nan, "f4"))]
    bad, fine = make_sequence(prompt(9, 9), 5, broken), make_sequence(prompt(9, 10), 5, temperature=1.0)
    events = run(make_core(), [bad, fine])
    (error,) = events[bad]
    assert isinstance(error, InvalidArgument)
    assert error.reason == "OUTPUT_NOT_FINITE"
    assert len(fine.generated) == 5


def test_a_failed_step_ends_its_sequences_and_the_engine_goes_on(
    make_core: MakeCore, make_sequence: MakeSequence
) -> None:
    core = make_core()
    misplaced = make_sequence(prompt(4, 11), 5, [AudioSpan(2, np.ones((9, 64), "f4"))])
    (events,) = run(core, [misplaced]).values()
    assert [type(item) for item in events] == [Internal]
    run(core, [fine := make_sequence(prompt(4, 12), 5)])
    assert len(fine.generated) == 5
