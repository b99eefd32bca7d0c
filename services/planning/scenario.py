"""What to plan for: a TOML file. `docs/planning.md` shows one."""

import math
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from services.planning.documents import Section, checked, text_of
from services.planning.errors import PlanningError

_P95_OF_NORMAL = 1.6449
Rate = float


class Lengths(Section):
    """A distribution: log-normal by its median and 95th percentile, or values to draw from. Never above `most`."""

    median: float | None = Field(None, gt=0)
    p95: float | None = Field(None, gt=0)
    values: tuple[float, ...] = ()
    most: float = Field(math.inf, gt=0, allow_inf_nan=True)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.values) == (self.median is not None):
            raise ValueError("give either median (and p95) or values")
        if any(value <= 0 for value in self.values):
            raise ValueError("values must be above 0")
        if self.median is not None and self.p95 is not None and self.p95 < self.median:
            raise ValueError("p95 is below the median")
        return self

    @property
    def sigma(self) -> float:
        """Of the logarithm; 0 when all are equal."""
        return math.log(self.p95 / self.median) / _P95_OF_NORMAL if self.median and self.p95 else 0.0


class Arrivals(Section):
    """Requests that come.

    Attributes:
        per_second: the same rate at all times; or
        by_hour: rates at each full hour, straight lines between; the last goes over into the first.
        burstiness: squared coefficient of variation of the times between arrivals; 1 is Poisson.
        bulk_share: share of requests that are windows of jobs, which nobody waits for.
        cached_share: share of clips whose embeddings are in the cache.
    """

    per_second: Rate | None = Field(None, gt=0)
    by_hour: tuple[Rate, ...] = ()
    burstiness: float = Field(1.0, gt=0, le=100)
    bulk_share: float = Field(0.0, ge=0, lt=1)
    cached_share: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.by_hour) == (self.per_second is not None):
            raise ValueError("give either per_second or by_hour")
        if any(rate < 0 for rate in self.by_hour) or (self.by_hour and not any(self.by_hour)):
            raise ValueError("by_hour has rates of 0 or more, one of them above 0")
        return self


class Objective(Section):
    """The objective (SLO): 95 of 100 requests that somebody waits for are this fast, refused ones counted as slow."""

    p95_seconds: float = Field(gt=0)
    measure: Literal["total", "first_text"] = "total"


class Prices(Section):
    """Of a replica for an hour, in any currency."""

    encoder: float = Field(0.0, ge=0)
    decoder: float = Field(0.0, ge=0)
    cpu: float = Field(0.0, ge=0, description="of gateway, preprocess and worker")


class StartSeconds(Section):
    """From the scaler's decision to the first call that a new pod answers."""

    encoder: float = Field(120.0, ge=0)
    decoder: float = Field(240.0, ge=0)
    cpu: float = Field(30.0, ge=0)


class Variant(Section):
    """Other scaling rules to compare with: values laid over the chart's."""

    name: str = Field(min_length=1)
    values: dict[str, Any]


class Scenario(Section):
    """A load, an objective, and what replicas cost.

    Attributes:
        hours: how long; a day by default.
        seed: of everything that is drawn; the same scenario gives the same plan.
        values: files of the chart's values, as given to helm, relative to the scenario's folder.
        shared_cores: all services share so many cores of one machine, instead of a device for each replica.
        scrape_seconds: how old the scaler's numbers may be: Prometheus' scrape interval.
        variants: other scaling rules to compare with.
    """

    arrivals: Arrivals
    clip_seconds: Lengths
    answer_tokens: Lengths
    objective: Objective
    prices: Prices = Prices()
    start_seconds: StartSeconds = StartSeconds()
    hours: float = Field(24.0, gt=0, le=24 * 7)
    seed: int = Field(1, ge=0)
    values: tuple[Path, ...] = ()
    shared_cores: float | None = Field(None, gt=0)
    scrape_seconds: float = Field(15.0, gt=0, le=300)
    variants: tuple[Variant, ...] = Field((), max_length=8)


def read_scenario(path: Path, changes: dict[str, dict[str, Any]] | None = None) -> Scenario:
    """A scenario from its TOML, with changes laid over it.

    Raises:
        PlanningError: it cannot be read, is no TOML, or has unknown keys or values out of limits.
    """
    try:
        content = tomllib.loads(text_of(path))
    except tomllib.TOMLDecodeError as error:
        raise PlanningError(f"{path}: {error}") from None
    scenario = checked(Scenario, laid_over(content, changes or {}), path)
    return scenario.model_copy(update={"values": tuple(path.parent / file for file in scenario.values)})


def laid_over(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Values with changes over them, table by table, as Helm lays one file over another."""
    result = dict(values)
    for key, change in changes.items():
        below = result.get(key)
        result[key] = laid_over(below, change) if isinstance(change, dict) and isinstance(below, dict) else change
    return result
