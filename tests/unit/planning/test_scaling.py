"""Decisions of the scaler."""

from itertools import pairwise

import pytest

from services.planning.chart import Behavior, Bounds
from services.planning.scaling import Scaler

pytestmark = pytest.mark.unit


def course(scaler: Scaler, values: list[float], current: int = 1, every: float = 15.0) -> list[int]:
    """Replicas after each decision on these values."""
    counts = []
    for number, value in enumerate(values):
        current = scaler.decide(number * every, current, {"requests": value})
        counts.append(current)
    return counts


def scaler(least: int = 1, most: int = 100, **behavior: float) -> Scaler:
    return Scaler(Bounds(least, most, {"requests": 10}), Behavior(**behavior))  # type: ignore[arg-type]


def test_replicas_come_at_the_next_decision_after_the_target_is_passed() -> None:
    assert course(scaler(), [8, 8, 25, 25]) == [1, 1, 3, 3]


def test_a_deviation_within_the_tolerance_changes_nothing() -> None:
    assert course(scaler(), [10.9, 11.1]) == [1, 2]


def test_no_more_come_than_the_policies_let_double_or_two_in_half_a_minute() -> None:
    assert course(scaler(), [500] * 7) == [3, 3, 6, 6, 12, 12, 24]


def test_replicas_go_one_a_minute_after_the_load_has_been_lower_for_the_whole_window() -> None:
    counts = course(scaler(), [40, 40, 40, *[5] * 40])
    assert counts[:3] == [3, 3, 4]
    last_high = 2 * 15
    goes = [number * 15 for number in range(1, len(counts)) if counts[number] < counts[number - 1]]
    assert goes[0] == last_high + 300
    assert [later - sooner for sooner, later in pairwise(goes)] == [60, 60]
    assert counts[-1] == 1


def test_a_rush_within_the_window_keeps_the_replicas() -> None:
    counts = course(scaler(in_after_seconds=120), [30, *[5] * 6, 30, *[5] * 7])
    assert min(counts) == 3


def test_the_largest_of_several_signals_wins_and_limits_hold() -> None:
    bounds = Bounds(2, 4, {"requests": 10, "kvCache": 0.75})
    assert Scaler(bounds, Behavior()).decide(0, 2, {"requests": 5, "kvCache": 2.2}) == 3
    assert Scaler(bounds, Behavior()).decide(0, 2, {"requests": 500, "kvCache": 0}) == 4
    assert Scaler(bounds, Behavior()).decide(0, 2, {"requests": 0, "kvCache": 0}) == 2
