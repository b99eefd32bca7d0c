"""Figures of a simulated time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from services.planning.chart import CPU_SERVICES
from services.planning.load import Request
from services.planning.scenario import Objective, Prices

SLOT_SECONDS = 900.0


@dataclass(frozen=True)
class Summary:
    """How requests that somebody waits for fared, and what it cost.

    Attributes:
        requests: of them, how many came.
        refused: of them, how many found no room.
        p50_seconds, p95_seconds, p99_seconds: of the objective's measure; nan when nobody was answered.
        worst_p95_seconds: of the quarter of an hour that has the largest.
        within: part that met the objective; who was refused did not.
        audio_hours: of all answered requests, those of jobs included.
        replica_hours: by service.
        cost: of them.
        cost_per_1000_audio_hours: nan without audio.
    """

    requests: int
    refused: int
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    worst_p95_seconds: float
    within: float
    audio_hours: float
    replica_hours: Mapping[str, float]
    cost: float
    cost_per_1000_audio_hours: float

    @property
    def meets(self) -> bool:
        """True when 95 of 100 requests met the objective."""
        return self.within >= 0.95

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {key: _rounded(value) for key, value in asdict(self).items()}


def taken_seconds(request: Request, objective: Objective) -> float:
    """What the objective measures; infinite for a request that was refused."""
    at = request.end_at if objective.measure == "total" else request.first_at
    return float("inf") if at is None or request.refused_by else at - request.at


def summarize(requests: Sequence[Request], hours: Mapping[str, float], objective: Objective, prices: Prices) -> Summary:
    """The figures of requests, and of replica hours by service."""
    waited_for = [request for request in requests if not request.bulk]
    taken = np.array([taken_seconds(request, objective) for request in waited_for])
    answered = taken[np.isfinite(taken)]
    audio_hours = sum(r.audio_seconds for r in requests if r.end_at is not None) / 3600
    cost = cost_of(hours, prices)
    p50, p95, p99 = np.percentile(answered, (50, 95, 99)) if len(answered) else (np.nan,) * 3
    slots = [p95 for _, p95 in p95_over_time(waited_for, objective)]
    return Summary(
        requests=len(taken),
        refused=len(taken) - len(answered),
        p50_seconds=float(p50),
        p95_seconds=float(p95),
        p99_seconds=float(p99),
        worst_p95_seconds=max(slots, default=float("nan")),
        within=float((taken <= objective.p95_seconds).mean()) if len(taken) else float("nan"),
        audio_hours=audio_hours,
        replica_hours=hours,
        cost=cost,
        cost_per_1000_audio_hours=1000 * cost / audio_hours if audio_hours else float("nan"),
    )


def cost_of(hours: Mapping[str, float], prices: Prices) -> float:
    """What replica hours cost."""
    by_kind = {"encoder": prices.encoder, "decoder": prices.decoder, "cpu": prices.cpu}
    return sum(value * by_kind["cpu" if name in CPU_SERVICES else name] for name, value in hours.items())


def p95_over_time(requests: Iterable[Request], objective: Objective) -> list[tuple[float, float]]:
    """By quarter of an hour, its middle and the 95th percentile of what came in it and was answered."""
    slots: dict[int, list[float]] = {}
    for request in requests:
        taken = taken_seconds(request, objective)
        if not request.bulk and taken < float("inf"):
            slots.setdefault(int(request.at // SLOT_SECONDS), []).append(taken)
    return [((slot + 0.5) * SLOT_SECONDS, float(np.percentile(slots[slot], 95))) for slot in sorted(slots)]


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value
