"""A whole plan: the smallest fixed size, and the whole time of the scenario under each set of scaling rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from services.planning.chart import SERVICES, read_values, rules_of
from services.planning.load import requests_between
from services.planning.profile import Profile
from services.planning.scenario import Scenario, laid_over
from services.planning.simulation import Outcome, Setup, simulate
from services.planning.sizing import Size, Sizing, setup_of
from services.planning.summary import Summary, summarize

FIXED, SCALED = "fixed", "as the chart says"
# Scalers begin with the fewest replicas and need a while to follow a load that is there already.
WARM_UP_SECONDS = 1800.0


@dataclass(frozen=True)
class Course:
    """The whole time with fixed replicas or under some rules."""

    name: str
    summary: Summary
    outcome: Outcome

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, **self.summary.record(), "history": dict(self.outcome.history)}


@dataclass(frozen=True)
class Plan:
    """What `auricle plan` tells."""

    scenario: Scenario
    profile: Profile
    size: Size
    courses: Sequence[Course]


def make_plan(
    scenario: Scenario,
    profile: Profile,
    on_try: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[str, float], None] = lambda *_: None,
) -> Plan:
    """Find the smallest size, then go through the whole time with it and with each set of scaling rules.

    Args:
        on_try: told what size is tried.
        on_progress: told how far each course is, 0 to 1.

    Raises:
        PlanningError: the values are wrong, the load is too large to simulate, or nothing meets the objective.
    """
    values = read_values(scenario.values)
    rules = rules_of(values)
    size = Sizing(scenario, profile, rules, on_try).smallest()
    fixed = setup_of(scenario, profile, rules, size.replicas)
    setups = {FIXED: fixed}
    if scenario.shared_cores is None:  # one machine has nothing to scale to
        by_name = {SCALED: rules, **{v.name: rules_of(laid_over(values, v.values)) for v in scenario.variants}}
        for name, varied in by_name.items():
            least = {service: varied.bounds[service].least for service in SERVICES}
            setups[name] = replace(fixed, rules=varied, replicas=least, scaled=varied.scaled)
    return Plan(
        scenario,
        profile,
        size,
        [_course(name, setup, scenario, partial(on_progress, name)) for name, setup in setups.items()],
    )


def _course(name: str, setup: Setup, scenario: Scenario, on_progress: Callable[[float], None]) -> Course:
    start, end = -WARM_UP_SECONDS, scenario.hours * 3600
    outcome = simulate(setup, requests_between(scenario, start, end), (start, 0.0, end), on_progress)
    counted = [request for request in outcome.requests if request.at >= 0]
    return Course(name, summarize(counted, outcome.replica_hours, scenario.objective, scenario.prices), outcome)
