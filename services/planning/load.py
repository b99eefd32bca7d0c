"""The requests of a scenario, drawn once and the same every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.planning.errors import PlanningError
from services.planning.scenario import Arrivals, Lengths, Scenario

# About a minute and 2 GB of simulation for each hundred thousand keep a plan from becoming a day's work.
MAX_REQUESTS = 2_000_000
_STEP_SECONDS = 60.0


@dataclass(slots=True)
class Request:
    """A question about one clip, and what became of it.

    Attributes:
        at: when it comes, seconds.
        audio_seconds: length of its clip; 0 for text alone.
        answer_tokens: tokens of its answer.
        bulk: a window of a job, which nobody waits for.
        cached: its embeddings are in the cache.
        heard_at, encoded_at: when its windows and its embeddings were there; None before, or without audio.
        first_at, end_at: when its first and last token were in the client's hands; None before.
        refused_by: the service that had no room; None otherwise.
    """

    at: float
    audio_seconds: float
    answer_tokens: int
    bulk: bool = False
    cached: bool = False
    heard_at: float | None = None
    encoded_at: float | None = None
    first_at: float | None = None
    end_at: float | None = None
    refused_by: str | None = None


def rate_of(arrivals: Arrivals) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Requests a second at each of some times, in seconds; days follow each other."""
    if arrivals.per_second is not None:
        constant = arrivals.per_second
        return lambda times: np.full_like(times, constant)
    rates = np.array(arrivals.by_hour)
    return lambda times: np.interp(times / 3600, np.arange(len(rates)), rates, period=len(rates))


def busiest(scenario: Scenario, seconds: float) -> float:
    """Where the busiest stretch of so many seconds begins."""
    starts = np.arange(0.0, max(scenario.hours * 3600 - seconds, 0.0) + 1, 60.0)
    rate = rate_of(scenario.arrivals)
    return float(starts[int(np.argmax([rate(np.linspace(start, start + seconds, 50)).mean() for start in starts]))])


def requests_between(scenario: Scenario, start: float, end: float) -> list[Request]:
    """The requests from `start` to `end` seconds.

    Raises:
        PlanningError: there are more than a simulation should have.
    """
    times = np.arange(start, end + _STEP_SECONDS, _STEP_SECONDS)
    rates = rate_of(scenario.arrivals)(times)
    expected = np.concatenate(([0.0], np.cumsum((rates[1:] + rates[:-1]) / 2 * _STEP_SECONDS)))
    if expected[-1] > MAX_REQUESTS:
        raise PlanningError(
            f"{expected[-1]:,.0f} requests are too many to simulate (at most {MAX_REQUESTS:,}); plan fewer hours"
        )
    draw = np.random.default_rng(scenario.seed)
    at = np.interp(_arrivals(draw, expected[-1], scenario.arrivals.burstiness), expected, times)
    at = at[at < end]
    clips = _lengths(draw, scenario.clip_seconds, len(at))
    answers = np.maximum(1, np.rint(_lengths(draw, scenario.answer_tokens, len(at)))).astype(int)
    bulk = draw.random(len(at)) < scenario.arrivals.bulk_share
    cached = draw.random(len(at)) < scenario.arrivals.cached_share
    columns = zip(at.tolist(), clips.tolist(), answers.tolist(), bulk.tolist(), cached.tolist(), strict=True)
    return [Request(*row) for row in columns]


def _arrivals(draw: np.random.Generator, expected: float, burstiness: float) -> NDArray[np.float64]:
    """A renewal process of rate 1 up to `expected`; gamma gaps, of which the exponential one is a case."""
    enough = int(expected + 10 * np.sqrt(expected * max(burstiness, 1.0)) + 20)
    gaps = draw.gamma(1 / burstiness, burstiness, enough)
    arrivals: NDArray[np.float64] = np.cumsum(gaps)
    return arrivals[arrivals < expected]


def _lengths(draw: np.random.Generator, lengths: Lengths, count: int) -> NDArray[np.float64]:
    if lengths.values:
        drawn = draw.choice(np.array(lengths.values), count)
    else:
        assert lengths.median is not None, "a scenario has one or the other"
        drawn = lengths.median * np.exp(lengths.sigma * draw.standard_normal(count))
    return np.minimum(drawn, lengths.most)
