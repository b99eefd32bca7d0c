"""What Prometheus knows of the simulated platform, by the names of `deploy/helm/auricle/files/signals.yaml`."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.planning.simulation import Platform

_RATE_SECONDS = 60.0  # of `rate(...[1m])`


class Signals:
    """The sums over the pods, as of the last scrape."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._last = self._read()
        self._encoded: deque[tuple[float, float]] = deque()

    def of(self, service: str) -> Mapping[str, float]:
        """Every signal of a service."""
        return self._last[service]

    def scrape(self, every_seconds: float) -> Generator[Any, Any, None]:
        """Read the metrics again and again."""
        while True:
            self._last = self._read()
            self._last["encoder"]["queue"] = self._mean_of_a_minute()
            yield self._platform.env.timeout(every_seconds)

    def _read(self) -> dict[str, dict[str, float]]:
        p = self._platform
        decoders = p.decoder.everybody
        return {
            "gateway": {"requests": sum(r.calls for r in p.gateway.everybody)},
            "preprocess": {"recordings": sum(r.busy for r in p.preprocess.everybody)},
            "worker": {"units": sum(r.calls for r in p.worker.everybody) + p.waiting_units},
            "encoder": {"queue": 0.0, "pending": sum(r.pending for r in p.encoder.everybody)},
            "decoder": {
                "requests": sum(r.calls for r in decoders),
                "kvCache": sum(r.kv_usage for r in decoders),
            },
        }

    def _mean_of_a_minute(self) -> float:
        """Clips in the encoders on the mean of a minute: time spent there by those that left, by the second."""
        now = self._platform.env.now
        spent = sum(replica.clip_seconds for replica in self._platform.encoders)
        self._encoded.append((now, spent))
        while self._encoded[0][0] < now - _RATE_SECONDS:
            self._encoded.popleft()
        began, before = self._encoded[0]
        return (spent - before) / (now - began) if now > began else 0.0
