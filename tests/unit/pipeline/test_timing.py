"""Clocks: wall time over calls that overlap."""

import time

import pytest

from services.pipeline.timing import RequestClock, StageClock

pytestmark = pytest.mark.unit


def test_calls_side_by_side_count_their_wall_time_once() -> None:
    clock = StageClock("encoder")
    with clock.call():
        with clock.call():
            time.sleep(0.02)
        time.sleep(0.02)
    assert 39 < clock.wall_ms < 80


def test_a_service_that_was_not_called_took_no_time() -> None:
    assert StageClock("encoder").wall_ms == 0


def test_a_call_that_fails_counts_too() -> None:
    clock = StageClock("encoder")
    with pytest.raises(RuntimeError), clock.call():
        time.sleep(0.01)
        raise RuntimeError
    assert clock.wall_ms > 9


def test_only_the_first_text_sets_the_first_token_time() -> None:
    clock = RequestClock()
    clock.first_token()
    first = clock.first_token_ms
    time.sleep(0.005)
    clock.first_token()
    assert clock.first_token_ms == first
    assert clock.total_ms > first
