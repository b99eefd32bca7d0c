"""Where a request's time goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


def elapsed_ms(since: float) -> float:
    """Milliseconds since a reading of time.monotonic()."""
    return (time.monotonic() - since) * 1000


class StageClock:
    """The time that one request spends in one service, over calls that may run side by side.

    Attributes:
        service: name of the service.
        compute_ms: time in which the service computed, summed over the calls; the service itself reports it.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.compute_ms = 0.0
        self._first_start: float | None = None
        self._last_end = 0.0

    @property
    def wall_ms(self) -> float:
        """From the start of the first call to the end of the last; 0 when there was none."""
        return 0.0 if self._first_start is None else max(0.0, self._last_end - self._first_start) * 1000

    @contextmanager
    def call(self) -> Iterator[None]:
        """Counts a call to the service."""
        started = time.monotonic()
        self._first_start = started if self._first_start is None else self._first_start
        try:
            yield
        finally:
            self._last_end = time.monotonic()


class RequestClock:
    """All clocks of one request, started when it arrives."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self.preprocess = StageClock("preprocess")
        self.encoder = StageClock("encoder")
        self.decoder = StageClock("decoder")
        self.first_token_ms = 0.0

    @property
    def stages(self) -> tuple[StageClock, ...]:
        """The services' clocks in the order of the path."""
        return self.preprocess, self.encoder, self.decoder

    @property
    def total_ms(self) -> float:
        """Time since the request arrived."""
        return elapsed_ms(self._start)

    def first_token(self) -> None:
        """Marks the arrival of the first text; later calls change nothing."""
        self.first_token_ms = self.first_token_ms or self.total_ms
