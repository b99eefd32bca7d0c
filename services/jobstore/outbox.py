"""Ends of jobs that webhooks are still to be told.

The change that ends a job also writes what is to be told, so neither can be without the other. Whoever delivers takes
it from here, and it stays until a receiver has accepted it or its time is over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis

from services.jobstore.client import PREFIX, now_ms


@dataclass(frozen=True)
class Delivery:
    """One try to tell a job's end.

    Attributes:
        attempt: which, from 1.
        state: of the job, a jobs_pb2.AnalysisJob.State.
        create_ms, start_ms, end_ms, expire_ms: its times; start_ms is 0 for a job that nobody began.
    """

    job_id: str
    attempt: int
    tenant: str
    url: str
    state: int
    create_ms: int
    start_ms: int
    end_ms: int
    expire_ms: int


class Outbox:
    """Deliveries that are due.

    Args:
        redis: from `records_client`.
        clock_ms: for tests.
    """

    def __init__(self, redis: Redis, *, clock_ms: Callable[[], int] = now_ms) -> None:
        self._clock_ms = clock_ms
        self._script = redis.register_script(files("services.jobstore").joinpath("outbox.lua").read_text())

    async def claim(self, count: int, lease_seconds: float) -> list[Delivery]:
        """Take at most `count` deliveries; nobody else gets them for `lease_seconds`."""
        claimed = await self._run("claim", self._clock_ms(), int(lease_seconds * 1000), count)
        return [_delivery(job_id, dict(zip(facts[::2], facts[1::2], strict=True))) for job_id, facts in claimed]

    async def finish(self, delivery: Delivery) -> bool:
        """There is nothing more to tell; False when a later try was begun meanwhile."""
        return bool(await self._run("finish", delivery.job_id, delivery.attempt))

    async def postpone(self, delivery: Delivery, seconds: float, *, tried: bool = True) -> bool:
        """Tell it again after a while; False when a later try was begun meanwhile."""
        at, counted = self._clock_ms() + int(seconds * 1000), delivery.attempt - (0 if tried else 1)
        return bool(await self._run("postpone", delivery.job_id, delivery.attempt, at, counted))

    def age_seconds(self, delivery: Delivery) -> float:
        """Since the job's end."""
        return (self._clock_ms() - delivery.end_ms) / 1000

    async def _run(self, operation: str, *arguments: Any) -> Any:
        return await self._script(keys=[PREFIX], args=[operation, *arguments])


def _delivery(job_id: bytes, facts: dict[bytes, bytes]) -> Delivery:
    def number(name: bytes) -> int:
        return int(facts[name])

    return Delivery(
        job_id=job_id.decode(),
        attempt=number(b"attempts"),
        tenant=facts[b"tenant"].decode(),
        url=facts[b"url"].decode(),
        state=number(b"state"),
        create_ms=number(b"create_ms"),
        start_ms=number(b"start_ms"),
        end_ms=number(b"end_ms"),
        expire_ms=number(b"expire_ms"),
    )
