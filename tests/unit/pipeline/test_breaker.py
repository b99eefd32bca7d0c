"""The circuit breaker: closed, open, and one trial at a time."""

import pytest

from services.pipeline.breaker import CircuitBreaker

pytestmark = pytest.mark.unit


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> CircuitBreaker:
    breaker = CircuitBreaker(2, 5.0, clock)
    for _ in range(2):
        assert breaker.allows()
        breaker.failed()
    return breaker


def test_failures_in_a_row_open_the_circuit() -> None:
    assert not opened(Clock()).allows()


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = CircuitBreaker(2, 5.0, Clock())
    for _ in range(5):
        breaker.failed()
        breaker.succeeded()
    assert breaker.allows()


def test_after_the_pause_one_trial_goes_through() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 5.0
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_a_trial_that_fails_opens_it_again_and_one_that_succeeds_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 5.0
    assert breaker.allows()
    breaker.failed()
    assert not breaker.allows()
    clock.now += 5.0
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.allows()
    assert breaker.allows()


def test_a_trial_that_never_came_back_is_followed_by_another() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 5.0
    assert breaker.allows()
    clock.now += 5.0
    assert breaker.allows()
