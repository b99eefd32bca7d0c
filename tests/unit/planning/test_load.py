"""Arrivals and lengths are those of the scenario."""

import numpy as np
import pytest

from services.planning.errors import PlanningError
from services.planning.load import busiest, requests_between
from tests.unit.planning.scenarios import scenario

pytestmark = pytest.mark.unit


def test_the_same_scenario_gives_the_same_requests() -> None:
    assert requests_between(scenario(), 0, 600) == requests_between(scenario(), 0, 600)
    assert requests_between(scenario(), 0, 600) != requests_between(scenario(seed=2), 0, 600)


def test_rates_follow_the_hours_and_the_day_goes_over_into_the_next() -> None:
    by_hour = {"arrivals": {"by_hour": [1.0, 4.0, 1.0]}}
    at = np.array([r.at for r in requests_between(scenario(**by_hour, hours=3), -3600, 3 * 3600)])
    assert ((at >= -60) & (at < 5400)).sum() == pytest.approx(3600 * 2.5 + 1800 * 3.25 + 60, rel=0.05)
    assert (at < 0).sum() == pytest.approx(3600, rel=0.06)
    assert busiest(scenario(**by_hour, hours=3), 1800) == pytest.approx(3600 - 900, abs=60)


def test_burstiness_is_the_squared_variation_of_the_gaps() -> None:
    for burstiness in (0.25, 1.0, 4.0):
        arrivals = {"per_second": 5.0, "burstiness": burstiness}
        gaps = np.diff([r.at for r in requests_between(scenario(arrivals=arrivals), 0, 3600)])
        assert gaps.var() / gaps.mean() ** 2 == pytest.approx(burstiness, rel=0.1)


def test_lengths_have_the_stated_percentiles_and_limit() -> None:
    requests = requests_between(scenario(arrivals={"per_second": 5.0, "bulk_share": 0.2}), 0, 3600)
    seconds = np.array([r.audio_seconds for r in requests])
    assert np.percentile(seconds, (50, 95)) == pytest.approx((5, 10), rel=0.05)
    assert seconds.max() <= 30
    assert np.mean([r.bulk for r in requests]) == pytest.approx(0.2, abs=0.02)


def test_more_requests_than_can_be_simulated_are_refused() -> None:
    with pytest.raises(PlanningError, match="too many to simulate"):
        requests_between(scenario(arrivals={"per_second": 1000.0}), 0, 3600)
