"""Admission by room in the cache, first come first served; steps of bounded size."""

from collections.abc import Callable

import pytest

from services.decoder.kv_cache import KVCache
from services.decoder.scheduler import Chunk, Scheduler
from services.decoder.sequence import Sequence

pytestmark = pytest.mark.unit

MakeSequence = Callable[..., Sequence]


def new_scheduler(capacity_tokens: int = 100, max_running: int = 4, step_rows: int = 16) -> Scheduler:
    cache = KVCache(layers=1, heads=1, head_width=2, capacity_tokens=capacity_tokens)
    return Scheduler(cache, max_running, step_rows)


def added(scheduler: Scheduler, *sequences: Sequence) -> tuple[Sequence, ...]:
    for sequence in sequences:
        scheduler.add(sequence)
    return sequences


def compute(chunks: list[Chunk]) -> None:
    for chunk in chunks:
        chunk.sequence.cached += chunk.rows


def test_nobody_is_admitted_without_room_for_prompt_and_longest_answer(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(capacity_tokens=50)
    first, second = added(scheduler, make_sequence([1] * 20, 10), make_sequence([1] * 20, 10))
    assert [chunk.sequence for chunk in scheduler.schedule()] == [first]
    scheduler.remove(first)
    assert [chunk.sequence for chunk in scheduler.schedule()] == [second]


def test_nobody_overtakes(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(capacity_tokens=50)
    added(scheduler, make_sequence([1] * 20, 10), make_sequence([1] * 40, 10), make_sequence([1], 1))
    scheduler.schedule()
    assert len(scheduler.running) == 1
    assert len(scheduler.waiting) == 2


def test_no_more_than_max_running_run(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(max_running=2)
    added(scheduler, *(make_sequence([1], 1) for _ in range(5)))
    assert len(scheduler.schedule()) == 2


def test_prompts_share_what_decoding_leaves_of_a_step(make_sequence: MakeSequence) -> None:
    scheduler = new_scheduler(step_rows=16)
    decoding, long, short = added(
        scheduler, make_sequence([1] * 3, 5), make_sequence([1] * 20, 5), make_sequence([1] * 4, 5)
    )
    compute(scheduler.schedule()[:1])
    assert [(chunk.sequence, chunk.rows) for chunk in scheduler.schedule()] == [(decoding, 1), (long, 15)]
    compute(scheduler.schedule())
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
        compute(chunks)
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
