"""Units of work in the record: who does them, what came of them, and which became ready by it."""

import uuid
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis

from auricle.v1 import audio_pb2, jobs_pb2
from services.jobstore.client import PREFIX, RecordScript, now_ms
from services.jobstore.model import Lease, LeaseLost, Unit

_LOST = jobs_pb2.JobError(
    code=13, reason="WORKER_LOST", message="every worker that began this piece of work died of it"
)


class UnitStore:
    """The record as workers change it. Methods answer the units that became ready.

    Args:
        redis: from `records_client`.
        lost_after_seconds: how long a message may take to a worker before it is sent again.
        clock_ms: for tests.
    """

    def __init__(self, redis: Redis, *, lost_after_seconds: float = 30.0, clock_ms: Callable[[], int] = now_ms) -> None:
        self._redis: Any = redis  # its stubs do not know that this client answers bytes
        self._script = RecordScript(redis, lost_after_seconds, clock_ms)

    async def claim(self, unit: Unit, lease_seconds: float, max_attempts: int) -> tuple[Lease | None, list[Unit]]:
        """A lease, unless the unit is done, in other hands, or not yet to be tried again.

        A unit whose workers died `max_attempts` times is given up (WORKER_LOST).
        """
        token = uuid.uuid4().hex
        arguments = (unit.field, token, int(lease_seconds * 1000), max_attempts, _LOST.SerializeToString())
        outcome, attempt, following = await self._script.run("claim", unit.job_id, *arguments)
        lease = Lease(unit, token, attempt) if outcome == b"leased" else None
        return lease, _units(unit.job_id, following)

    async def renew(self, lease: Lease, lease_seconds: float) -> bool:
        """Keep a lease; False when it is lost or the job has ended."""
        arguments = (lease.unit.field, lease.token, int(lease_seconds * 1000))
        return bool(await self._script.run("renew", lease.unit.job_id, *arguments))

    async def add_window(self, lease: Lease, window: audio_pb2.AudioWindow) -> list[Unit]:
        """Note a window that prepare found; a window that is known already counts once.

        Raises:
            LeaseLost: the lease is not valid any more.
        """
        arguments = (lease.token, window.index, round(window.duration_seconds * 1000), window.SerializeToString())
        return await self._change("add_window", lease, *arguments)

    async def complete(self, lease: Lease, payload: bytes | str = b"", fact: int = 0) -> list[Unit]:
        """The unit is done.

        Args:
            lease: by which it was done.
            payload: prepare's summary, a window's result, or under which key finish kept the job's result.
            fact: encode: 1 when the embeddings were cached; decode: tokens generated.

        Raises:
            LeaseLost: the lease is not valid any more; nothing has changed.
        """
        return await self._change("complete", lease, lease.unit.field, lease.token, payload, fact)

    async def fail(self, lease: Lease, error: jobs_pb2.JobError, retry_after_seconds: float | None) -> list[Unit]:
        """The unit failed: it is ready again after a while, or given up when that is None.

        Raises:
            LeaseLost: the lease is not valid any more; nothing has changed.
        """
        retry_at = 0 if retry_after_seconds is None else self._script.now_ms() + int(retry_after_seconds * 1000)
        return await self._change("fail", lease, lease.unit.field, lease.token, error.SerializeToString(), retry_at)

    async def overdue(self, count: int = 1000) -> list[Unit]:
        """Units to be sent again: their lease ran out, their retry is due, or their message may be lost."""
        members = await self._script.run("overdue", "", count)
        return [Unit.parse(member.decode()) for member in members]

    async def expired(self, count: int = 100) -> list[str]:
        """Ids of jobs whose time is over."""
        members = await self._redis.zrange(
            f"{PREFIX}expire", "-inf", str(self._script.now_ms()), byscore=True, offset=0, num=count
        )
        return [member.decode() for member in members]

    async def _change(self, operation: str, lease: Lease, *arguments: bytes | str | int) -> list[Unit]:
        outcome, following = await self._script.run(operation, lease.unit.job_id, *arguments)
        if outcome == b"stale":
            raise LeaseLost
        return _units(lease.unit.job_id, following)


def _units(job_id: str, following: bytes) -> list[Unit]:
    return [Unit.parse(f"{job_id}/{following.decode()}")] if following else []
