"""A bound for work in progress."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.common.errors import ResourceExhausted

RETRY_SECONDS = 1.0


class Slots:
    """At most `limit` pieces of work at once; the next is refused, not queued: it holds its bytes already."""

    def __init__(self, limit: int, work: str) -> None:
        self._limit = limit
        self._work = work
        self._taken = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a slot.

        Raises:
            ResourceExhausted: none is free (GATEWAY_BUSY); carries when to try again.
        """
        if self._taken >= self._limit:
            raise ResourceExhausted(
                f"{self._limit} {self._work} are in progress; try again soon",
                reason="GATEWAY_BUSY",
                metadata={"limit": str(self._limit)},
                retry_after_seconds=RETRY_SECONDS,
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
