"""A circuit breaker for a service that one can do without."""

import time
from collections.abc import Callable


class CircuitBreaker:
    """Stops asking after `threshold` failures in a row; after `pause_seconds` one trial decides whether to go on.

    Args:
        threshold: failures in a row that open the circuit.
        pause_seconds: time without any asking.
        clock: monotonic seconds; tests bring their own.
    """

    def __init__(self, threshold: int, pause_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._threshold = threshold
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._failures = 0
        self._asks_again_at = 0.0

    def allows(self) -> bool:
        """Whether to ask now. While the circuit is open, one caller per pause is let through as the trial."""
        if self._failures < self._threshold:
            return True
        if self._clock() < self._asks_again_at:
            return False
        self._asks_again_at = self._clock() + self._pause_seconds
        return True

    def succeeded(self) -> None:
        """The service answered: the circuit closes."""
        self._failures = 0

    def failed(self) -> None:
        """The service did not answer."""
        self._failures += 1
        if self._failures >= self._threshold:
            self._asks_again_at = self._clock() + self._pause_seconds
