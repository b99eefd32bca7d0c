"""Admission by blocks, interactive first, first come first served; preemption; what is known is not computed again."""

from collections.abc import Callable

import numpy as np
import pytest

from services.decoder.engine import AudioSpan, Priority
from services.decoder.kv_cache import KVCache
from services.decoder.scheduler import (
    BULK_PATIENCE_SECONDS,
    BULK_STANDS_BACK_SECONDS,
    INTERACTIVE_EXPECTED_SECONDS,
    Chunk,
    Scheduler,
)
from services.decoder.sequence import Sequence

pytestmark = pytest.mark.unit

MakeSequence = Callable[..., Sequence]


def new_scheduler(capacity_tokens: int = 160, max_running: int = 4, step_rows: int = 16, **options: int) -> Scheduler:
    cache = KVCache(layers=1, heads=1, head_width=2, capacity_tokens=capacity_tokens)
    return Scheduler(cache, max_running, step_rows, **options)


def added(scheduler: Scheduler, *sequences: Sequence) -> tuple[Sequence, ...]:
    for sequence in sequences:
        scheduler.add(sequence)
    return sequences


def compute(scheduler: Scheduler, chunks: list[Chunk], token_id: int = 1) -> None:
    """What the engine's core does with a step, without the model."""
    for chunk in chunks:
        completes = chunk.completes
        scheduler.computed(chunk)
        if completes:
            chunk.sequence.accept(token_id, frozenset())


def run_steps(scheduler: Scheduler, steps: int) -> None:
    for _ in range(steps):
        compute(scheduler, scheduler.schedule())


def test_nobody_is_admitted_without_blocks_for_the_prompt(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(capacity_tokens=48)
    first, second = added(scheduler, make_sequence([1] * 20, 10), make_sequence([2] * 20, 10))
    assert [chunk.sequence for chunk in scheduler.schedule()] == [first]
    scheduler.remove(first)
    assert [chunk.sequence for chunk in scheduler.schedule()] == [second]


def test_nobody_overtakes(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(capacity_tokens=64)
    added(scheduler, make_sequence([1] * 20, 10), make_sequence([2] * 40, 10), make_sequence([3], 1))
    scheduler.schedule()
    assert len(scheduler.running) == 1
    assert len(scheduler.waiting) == 2


def test_the_youngest_gives_its_blocks_back_when_they_run_out_and_comes_again(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(capacity_tokens=64, step_rows=64)
    old, young = added(scheduler, make_sequence([1] * 15, 40), make_sequence([2] * 15, 40))
    compute(scheduler, scheduler.schedule())
    assert scheduler.running == [old, young]
    run_steps(scheduler, 18)
    assert (scheduler.running, scheduler.waiting) == ([old], [young])
    assert young.table is None
    answered = list(young.generated)
    scheduler.remove(old)
    (chunk,) = scheduler.schedule()
    assert chunk.sequence is young
    assert young.tokens == [2] * 15 + answered
    # What the prefix cache still had of it is not computed again.
    assert 0 < chunk.rows < len(young.tokens)


def test_a_newcomer_leaves_a_block_to_everybody_who_runs(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(capacity_tokens=48, step_rows=64)
    running, newcomer = added(scheduler, make_sequence([1] * 15, 9), make_sequence([2] * 32, 9))
    compute(scheduler, scheduler.schedule())
    assert scheduler.running == [running]
    scheduler.remove(running)
    scheduler.schedule()
    assert scheduler.running == [newcomer]


def test_a_prompt_known_from_before_is_computed_from_its_first_new_block(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(step_rows=100)
    (first,) = added(scheduler, make_sequence([1] * 40 + [2] * 8, 4))
    compute(scheduler, scheduler.schedule())
    scheduler.remove(first)
    same, other = added(scheduler, make_sequence([1] * 40 + [3] * 8, 4), make_sequence([9] + [1] * 47, 4))
    assert {chunk.sequence: chunk.rows for chunk in scheduler.schedule()} == {same: 16, other: 48}
    assert (same.found_tokens, other.found_tokens) == (32, 0)


def test_the_last_token_of_a_prompt_is_always_computed(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(step_rows=100)
    (first,) = added(scheduler, make_sequence([1] * 32, 4))
    compute(scheduler, scheduler.schedule())
    (again,) = added(scheduler, make_sequence([1] * 32, 4))
    assert [chunk.rows for chunk in scheduler.schedule() if chunk.sequence is again] == [16]
    assert first.table is not None
    assert again.table is not None
    assert first.table.blocks[0] == again.table.blocks[0]


def test_who_is_not_admitted_lets_go_of_the_blocks_that_were_found(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(capacity_tokens=64, step_rows=64)
    (first,) = added(scheduler, make_sequence([1] * 33, 9))
    run_steps(scheduler, 1)
    scheduler.remove(first)
    running, again = added(scheduler, make_sequence([2] * 20, 9), make_sequence([1] * 33, 9))
    for _ in range(3):
        scheduler.schedule()
    assert (scheduler.running, scheduler.waiting) == ([running], [again])
    scheduler.remove(again)
    scheduler.remove(running)
    assert scheduler._cache.used_tokens == 0


def test_other_audio_under_the_same_placeholders_is_another_prompt(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(step_rows=100)
    sound, other = np.ones((20, 4), "f4"), np.full((20, 4), 2, "f4")
    (first,) = added(scheduler, make_sequence([1] * 40, 4, [AudioSpan(18, sound)]))
    compute(scheduler, scheduler.schedule())
    scheduler.remove(first)
    same, different, moved = added(
        scheduler,
        make_sequence([1] * 40, 4, [AudioSpan(18, sound.copy())]),
        make_sequence([1] * 40, 4, [AudioSpan(18, other)]),
        make_sequence([1] * 40, 4, [AudioSpan(17, sound)]),
    )
    scheduler.schedule()
    assert [sequence.found_tokens for sequence in (same, different, moved)] == [32, 16, 16]


def test_interactive_requests_go_first_and_take_a_bulk_place(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(max_running=2)
    bulk = added(scheduler, *(make_sequence([n], 9, priority=Priority.BULK) for n in range(3)))
    run_steps(scheduler, 2)
    (first, second) = added(scheduler, make_sequence([8], 9), make_sequence([9], 9))
    assert [chunk.sequence for chunk in scheduler.schedule()] == [first, second]
    assert scheduler.waiting == [bulk[0], bulk[1], bulk[2]]
    assert scheduler.schedule()[0].sequence is first


def test_a_bulk_request_that_waited_long_is_served_in_its_turn(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(max_running=1)
    running, bulk, later = added(
        scheduler, make_sequence([1], 9), make_sequence([2], 9, priority=Priority.BULK), make_sequence([3], 9)
    )
    scheduler.schedule()
    bulk.waiting_since -= BULK_PATIENCE_SECONDS + 1
    scheduler.remove(running)
    scheduler.schedule()
    assert scheduler.running == [bulk]
    assert scheduler.waiting == [later]


def rows(scheduler: Scheduler) -> dict[Sequence, int]:
    return {chunk.sequence: chunk.rows for chunk in scheduler.schedule()}


def test_bulk_requests_stand_back_for_an_interactive_prompt_but_not_for_ever(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(capacity_tokens=320, step_rows=40, bulk_step_rows=10)
    (answering,) = added(scheduler, make_sequence([3], 9, priority=Priority.BULK))
    run_steps(scheduler, 1)
    reading, interactive = added(
        scheduler, make_sequence([1] * 60, 9, priority=Priority.BULK), make_sequence([2] * 65, 9)
    )
    assert rows(scheduler) == {interactive: 40}
    answering.served_at -= BULK_STANDS_BACK_SECONDS
    assert rows(scheduler) == {answering: 1, interactive: 39}
    run_steps(scheduler, 1)
    assert rows(scheduler) == {interactive: 26}
    reading.served_at -= BULK_STANDS_BACK_SECONDS
    assert rows(scheduler) == {interactive: 26, reading: 10}
    run_steps(scheduler, 1)
    # Past its prompt the interactive request has nothing against company.
    assert rows(scheduler) == {interactive: 1, answering: 1, reading: 10}


def test_steps_of_bulk_prompts_are_short_while_interactive_requests_come(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(step_rows=40, bulk_step_rows=10)
    first, second = added(scheduler, *(make_sequence([n] * 30, 9, priority=Priority.BULK) for n in (1, 2)))
    assert rows(scheduler) == {first: 30, second: 10}
    (interactive,) = added(scheduler, make_sequence([3], 9))
    compute(scheduler, scheduler.schedule()[:1])
    assert interactive.generated
    assert rows(scheduler) == {interactive: 1, first: 10}
    scheduler._interactive_until -= INTERACTIVE_EXPECTED_SECONDS + 1
    assert rows(scheduler) == {interactive: 1, first: 30, second: 9}


def test_no_more_than_max_running_run(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(max_running=2)
    added(scheduler, *(make_sequence([1], 1) for _ in range(5)))
    assert len(scheduler.schedule()) == 2


def test_prompts_share_what_decoding_leaves_of_a_step(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(step_rows=16)
    decoding, long, short = added(
        scheduler, make_sequence([1] * 3, 5), make_sequence([2] * 20, 5), make_sequence([3] * 4, 5)
    )
    compute(scheduler, scheduler.schedule()[:1])
    assert [(chunk.sequence, chunk.rows) for chunk in scheduler.schedule()] == [(decoding, 1), (long, 15)]
    compute(scheduler, scheduler.schedule())
    assert [(chunk.sequence, chunk.rows, chunk.completes) for chunk in scheduler.schedule()] == [
        (decoding, 1, True),
        (long, 5, True),
        (short, 4, True),
    ]


def test_a_chunk_of_an_unfinished_prompt_brings_no_token(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(step_rows=8)
    added(scheduler, make_sequence([1] * 20, 5))
    completes = []
    for _ in range(4):
        chunks = scheduler.schedule()
        completes.append(chunks[0].completes)
        compute(scheduler, chunks)
    assert completes == [False, False, True, True]


def test_who_leaves_gives_everything_back_wherever_they_were(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(max_running=1)
    running, waiting = added(scheduler, make_sequence([1] * 9, 1), make_sequence([1], 1))
    scheduler.schedule()
    for sequence in (waiting, running, running):
        scheduler.remove(sequence)
    assert not scheduler.has_work
    assert scheduler._cache.used_tokens == 0


def test_deadlines_hold_in_the_queue_and_while_running(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(max_running=1)
    running, late, patient = added(
        scheduler,
        make_sequence([1], 1, deadline=20.0),
        make_sequence([1], 1, deadline=10.0),
        make_sequence([1], 1),
    )
    scheduler.schedule()
    assert scheduler.take_expired(now=9.0) == []
    assert scheduler.take_expired(now=10.0) == [late]
    assert scheduler.take_expired(now=20.0) == [running]
    assert [chunk.sequence for chunk in scheduler.schedule()] == [patient]


def test_a_step_must_hold_everybody() -> None:
    with pytest.raises(ValueError, match="cannot decode 8"):
        new_scheduler(max_running=8, step_rows=4)
