"""The smallest number of encoders and decoders that meets the objective in the busiest stretch of the scenario."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.planning.chart import SERVICES, Rules
from services.planning.errors import PlanningError
from services.planning.load import busiest, requests_between
from services.planning.profile import Profile
from services.planning.scenario import Scenario
from services.planning.simulation import Setup, simulate
from services.planning.summary import Summary, summarize

# Long enough for a queue that grows to be seen, and for the 95th percentile to settle.
PEAK_SECONDS = 1800.0
# From an empty platform to its usual state.
WARM_UP_SECONDS = 120.0
# Nobody plans more of one kind with this tool.
MOST_REPLICAS = 512


@dataclass(frozen=True)
class Size:
    """Replicas by service, and how the busiest stretch fares with them."""

    replicas: Mapping[str, int]
    peak: Summary


def setup_of(scenario: Scenario, profile: Profile, rules: Rules, replicas: Mapping[str, int]) -> Setup:
    """What a scenario says about the simulation."""
    return Setup(
        rules,
        profile,
        replicas,
        start_seconds=scenario.start_seconds,
        shared_cores=scenario.shared_cores,
        scrape_seconds=scenario.scrape_seconds,
        seed=scenario.seed,
    )


class Sizing:
    """Tries numbers of replicas on the busiest stretch.

    Args:
        on_try: told what is tried.
    """

    def __init__(
        self, scenario: Scenario, profile: Profile, rules: Rules, on_try: Callable[[str], None] = lambda _: None
    ) -> None:
        self._scenario, self._profile, self._rules, self._on_try = scenario, profile, rules, on_try
        self._seconds = min(PEAK_SECONDS, scenario.hours * 3600)
        self._start = busiest(scenario, self._seconds)
        self._tried: dict[tuple[tuple[str, int], ...], Summary] = {}

    def smallest(self) -> Size:
        """The fewest decoders while there are encoders enough, then the fewest encoders, then of the others.

        Raises:
            PlanningError: no number of replicas meets the objective.
        """
        if self._scenario.shared_cores is not None:
            ones = dict.fromkeys(SERVICES, 1)
            return Size(ones, self._fares(ones))
        replicas = dict.fromkeys(SERVICES, self._plenty())
        for name in ("decoder", "encoder", "preprocess", "gateway", "worker"):
            replicas[name] = self._fewest(name, replicas)
        return Size(replicas, self._fares(replicas))

    def _plenty(self) -> int:
        """So many of each kind that more would not help."""
        count = 4
        best = self._fares(dict.fromkeys(SERVICES, count))
        while not best.meets:
            if count >= MOST_REPLICAS:
                raise PlanningError(f"even {count} replicas of each service do not meet the objective")
            better = self._fares(dict.fromkeys(SERVICES, 2 * count))
            if better.meets or better.within > best.within + 0.001:
                count, best = 2 * count, better
                continue
            raise PlanningError(
                f"no number of replicas meets the objective: with {count} of each service the 95th percentile is "
                f"{best.p95_seconds:.2f} s and {best.within:.1%} are within {self._scenario.objective.p95_seconds:g} s"
            )
        return count

    def _fewest(self, name: str, replicas: Mapping[str, int]) -> int:
        """By bisection: more replicas of one kind do no harm."""
        low, high = 1, replicas[name]
        while low < high:
            middle = (low + high) // 2
            if self._fares({**replicas, name: middle}).meets:
                high = middle
            else:
                low = middle + 1
        return high

    def _fares(self, replicas: Mapping[str, int]) -> Summary:
        """How the busiest stretch fares with so many."""
        key = tuple(replicas.items())
        if key not in self._tried:
            self._on_try(", ".join(f"{count} {name}" for name, count in replicas.items() if name[-5:] == "coder"))
            setup = setup_of(self._scenario, self._profile, self._rules, replicas)
            begin, end = self._start - WARM_UP_SECONDS, self._start + self._seconds
            outcome = simulate(setup, requests_between(self._scenario, begin, end), (begin, self._start, end))
            counted = [request for request in outcome.requests if request.at >= self._start]
            scenario = self._scenario
            self._tried[key] = summarize(counted, outcome.replica_hours, scenario.objective, scenario.prices)
        return self._tried[key]
