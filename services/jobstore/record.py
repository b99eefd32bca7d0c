"""Job records in one Redis: the truth about every job.

Messages between workers carry ids only and may come late, twice or never; what counts is decided here, in Lua, by
compare-and-set. A unit is leased with a fencing token: who lost the lease changes nothing any more, so a window counts
once, whatever died in between.
"""

import time
import uuid
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from redis.asyncio import Redis

from auricle.v1 import audio_pb2, jobs_pb2, preprocess_pb2
from services.common.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted
from services.jobstore.model import JobRecord, Lease, QueueLimits, Unit, id_of, resource_name

PREFIX = "auricle:jobs:"
MAX_FAILED_SHOWN = 100
QUEUE_FULL_RETRY_SECONDS = 30.0
_HOUR_MS = 3_600_000
_LOST = jobs_pb2.JobError(
    code=13, reason="WORKER_LOST", message="every worker that began this piece of work died of it"
)


def _now_ms() -> int:
    return int(time.time() * 1000)


class JobStore:
    """Reads and changes job records.

    Args:
        redis: a client that answers bytes.
        lost_after_seconds: how long a message may take to a worker before it is sent again.
        now_ms: the clock, for tests.
    """

    def __init__(self, redis: Redis, *, lost_after_seconds: float = 30.0, now_ms: Callable[[], int] = _now_ms) -> None:
        self._redis: Any = redis  # its stubs do not know that this client answers bytes
        self._lost_after_ms = int(lost_after_seconds * 1000)
        self._now_ms = now_ms
        self._script = redis.register_script(files("services.jobstore").joinpath("record.lua").read_text())

    async def _run(self, operation: str, job_id: str, *arguments: Any) -> Any:
        return await self._script(
            keys=[PREFIX], args=[operation, self._now_ms(), self._lost_after_ms, job_id, *arguments]
        )

    # For the gateway.

    async def create(
        self, record: JobRecord, *, estimate_seconds: float, request_id: str, body_sha256: str, limits: QueueLimits
    ) -> tuple[JobRecord, bool]:
        """Accept a job; the earlier one, and False, when the tenant's `request_id` made it already.

        Raises:
            AlreadyExists: `request_id` was used for another request (REQUEST_ID_REUSED).
            ResourceExhausted: too much audio waits (JOB_QUEUE_FULL).
        """
        outcome, job_id = await self._run(
            "create",
            record.id,
            record.tenant,
            record.job.SerializeToString(),
            record.job.ttl.ToMilliseconds(),
            int(estimate_seconds * 1000),
            f"{record.tenant}:{request_id}" if request_id else "",
            body_sha256,
            int(limits.tenant_hours * _HOUR_MS),
            int(limits.total_hours * _HOUR_MS),
        )
        if outcome == b"other":
            raise AlreadyExists(
                "request_id was used for another request; take a new one",
                reason="REQUEST_ID_REUSED",
                metadata={"analysis_job": resource_name(job_id.decode())},
            )
        if outcome == b"full":
            raise ResourceExhausted(
                "too many hours of audio wait already",
                reason="JOB_QUEUE_FULL",
                metadata={"tenant_limit_hours": f"{limits.tenant_hours:g}", "limit_hours": f"{limits.total_hours:g}"},
                retry_after_seconds=QUEUE_FULL_RETRY_SECONDS,
            )
        return await self.load(job_id.decode()), outcome == b"new"

    async def get(self, tenant: str, name: str) -> JobRecord:
        """The tenant's job of that name.

        Raises:
            NotFound: there is none (JOB_NOT_FOUND).
        """
        record = await self.find(id_of(name))
        if record is None or record.tenant != tenant:
            raise _not_found(name)
        return record

    async def newest(self, tenant: str, before: tuple[int, str] | None, count: int) -> list[tuple[int, str]]:
        """Creation time (ms) and id of the tenant's jobs, newest first, from the one after `before` on."""
        key = f"{PREFIX}tenant:{tenant}"
        found: list[tuple[int, str]] = []
        newest: str | int = before[0] if before else "+inf"
        offset = 0
        while len(found) < count:
            page = await self._redis.zrange(
                key, newest, "-inf", byscore=True, desc=True, withscores=True, offset=offset, num=count + 1
            )
            offset += len(page)
            entries = [(int(score), job_id.decode()) for job_id, score in page]
            found += [entry for entry in entries if before is None or entry < before]
            if len(page) <= count:
                break
        return found[:count]

    async def changes(self, record: JobRecord, poll_seconds: float = 2.0) -> AsyncIterator[JobRecord]:
        """The job now and after every change, until it has ended or is gone. Changes in quick succession are one."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(f"{PREFIX}changed:{record.id}")
            revision = -1
            while True:
                current = await self.find(record.id)
                if current is None:
                    return
                if current.job.revision != revision:
                    revision = current.job.revision
                    yield current
                    if not current.is_active:
                        return
                await channel.get_message(timeout=poll_seconds)
                while await channel.get_message(timeout=0):
                    pass

    async def cancel(self, tenant: str, name: str) -> JobRecord:
        """Stop a job; nothing changes when it is canceled already.

        Raises:
            NotFound: JOB_NOT_FOUND.
            FailedPrecondition: it has ended otherwise (JOB_FINISHED).
        """
        record = await self.get(tenant, name)
        state = int(await self._run("cancel", record.id) or 0)
        if state != jobs_pb2.AnalysisJob.STATE_CANCELED:
            raise FailedPrecondition("the job has ended already", reason="JOB_FINISHED", metadata={"name": name[:80]})
        return await self.get(tenant, name)

    async def delete(self, job_id: str) -> bool:
        """Remove a record; False when there was none."""
        return bool(await self._run("delete", job_id))

    # For both.

    async def find(self, job_id: str) -> JobRecord | None:
        """The job of that id, whoever owns it."""
        facts = await self._redis.hgetall(f"{PREFIX}{job_id}") if job_id else {}
        if b"spec" not in facts:
            return None
        job = jobs_pb2.AnalysisJob.FromString(facts[b"spec"])
        _fill(job, facts)
        if job.progress.failed_windows:
            job.failed_windows.extend((await self.failed_windows(job_id))[:MAX_FAILED_SHOWN])
        return JobRecord(job_id, facts[b"tenant"].decode(), job)

    async def load(self, job_id: str) -> JobRecord:
        """The job of that id, which must be there.

        Raises:
            NotFound: it was deleted (JOB_NOT_FOUND).
        """
        record = await self.find(job_id)
        if record is None:
            raise _not_found(resource_name(job_id))
        return record

    async def windows(self, job_id: str) -> dict[int, audio_pb2.AudioWindow]:
        """What is known of each window, by index."""
        fields = await self._redis.hgetall(f"{PREFIX}{job_id}:windows")
        found = {int(i): audio_pb2.AudioWindow.FromString(v) for i, v in fields.items() if not i.endswith(b":ms")}
        return dict(sorted(found.items()))

    async def window(self, job_id: str, index: int) -> audio_pb2.AudioWindow:
        """What is known of one window."""
        return audio_pb2.AudioWindow.FromString(await self._redis.hget(f"{PREFIX}{job_id}:windows", str(index)) or b"")

    async def results(self, job_id: str) -> dict[int, jobs_pb2.ResultSegment]:
        """Results of the finished windows, by index."""
        fields = await self._redis.hgetall(f"{PREFIX}{job_id}:results")
        return dict(sorted((int(i), jobs_pb2.ResultSegment.FromString(v)) for i, v in fields.items()))

    async def results_since(self, job_id: str, count: int) -> list[jobs_pb2.ResultSegment]:
        """Results of windows in the order of their finishing, without the first `count`."""
        order = await self._redis.lrange(f"{PREFIX}{job_id}:order", count, -1)
        fields = await self._redis.hmget(f"{PREFIX}{job_id}:results", order) if order else []
        return [jobs_pb2.ResultSegment.FromString(value) for value in fields if value is not None]

    async def failed_windows(self, job_id: str) -> list[jobs_pb2.FailedWindow]:
        """Windows that were given up, in order."""
        errors = await self._redis.hgetall(f"{PREFIX}{job_id}:errors")
        failed = []
        for index, error in sorted((int(i), e) for i, e in errors.items()):
            window = await self.window(job_id, index)
            failed.append(
                jobs_pb2.FailedWindow(
                    index=index,
                    start_seconds=window.start_seconds,
                    duration_seconds=window.duration_seconds,
                    error=jobs_pb2.JobError.FromString(error),
                )
            )
        return failed

    async def totals(self, job_id: str) -> tuple[preprocess_pb2.PreprocessSummary, int, int]:
        """Preprocess' summary, windows whose embeddings were cached, and tokens generated."""
        summary, cached, tokens = await self._redis.hmget(f"{PREFIX}{job_id}", ["summary", "cached", "output_tokens"])
        return preprocess_pb2.PreprocessSummary.FromString(summary or b""), int(cached or 0), int(tokens or 0)

    # For workers. What they answer are the units that became ready.

    async def claim(self, unit: Unit, lease_seconds: float, max_attempts: int) -> tuple[Lease | None, list[Unit]]:
        """A lease, unless the unit is done, in other hands, or not yet to be tried again.

        A unit whose workers died `max_attempts` times is given up (WORKER_LOST).
        """
        token = uuid.uuid4().hex
        lost = _LOST.SerializeToString()
        arguments = (unit.field, token, int(lease_seconds * 1000), max_attempts, lost)
        outcome, attempt, following = await self._run("claim", unit.job_id, *arguments)
        lease = Lease(unit, token, attempt) if outcome == b"leased" else None
        return lease, _units(unit.job_id, following)

    async def renew(self, lease: Lease, lease_seconds: float) -> bool:
        """Keep a lease; False when it is lost or the job has ended."""
        return bool(
            await self._run("renew", lease.unit.job_id, lease.unit.field, lease.token, int(lease_seconds * 1000))
        )

    async def add_window(self, lease: Lease, window: audio_pb2.AudioWindow) -> list[Unit] | None:
        """Note a window that prepare found; None when the lease is lost, nothing when the window is known."""
        arguments = (window.index, round(window.duration_seconds * 1000), window.SerializeToString())
        outcome, following = await self._run("add_window", lease.unit.job_id, lease.token, *arguments)
        return None if outcome == b"stale" else _units(lease.unit.job_id, following)

    async def complete(self, lease: Lease, payload: bytes = b"", fact: int = 0) -> list[Unit]:
        """The unit is done.

        Args:
            lease: by which it was done; nothing changes when it is lost.
            payload: prepare's summary, or a window's result.
            fact: encode: 1 when the embeddings were cached; decode: tokens generated.
        """
        _, following = await self._run("complete", lease.unit.job_id, lease.unit.field, lease.token, payload, fact)
        return _units(lease.unit.job_id, following)

    async def fail(self, lease: Lease, error: jobs_pb2.JobError, retry_after_seconds: float | None) -> list[Unit]:
        """The unit failed: it is ready again after a while, or given up when that is None."""
        retry_at = 0 if retry_after_seconds is None else self._now_ms() + int(retry_after_seconds * 1000)
        arguments = (lease.unit.field, lease.token, error.SerializeToString(), retry_at)
        _, following = await self._run("fail", lease.unit.job_id, *arguments)
        return _units(lease.unit.job_id, following)

    async def overdue(self, count: int = 1000) -> list[Unit]:
        """Units to be sent again: their lease ran out, their retry is due, or their message may be lost."""
        now = self._now_ms()
        members = await self._redis.zrange(f"{PREFIX}due", "-inf", now, byscore=True, offset=0, num=count)
        if members:
            again = now + self._lost_after_ms
            await self._redis.zadd(f"{PREFIX}due", dict.fromkeys(members, again), xx=True)
        return [Unit.parse(member.decode()) for member in members]

    async def expired(self, count: int = 100) -> list[str]:
        """Ids of jobs whose time is over."""
        members = await self._redis.zrange(f"{PREFIX}expire", "-inf", self._now_ms(), byscore=True, offset=0, num=count)
        return [member.decode() for member in members]


def _units(job_id: str, following: bytes) -> list[Unit]:
    return [Unit.parse(f"{job_id}/{following.decode()}")] if following else []


def _fill(job: jobs_pb2.AnalysisJob, facts: dict[bytes, bytes]) -> None:
    """The fields that the service sets."""

    def number(name: str) -> int:
        return int(facts.get(name.encode(), 0))

    job.state = number("state")  # type: ignore[assignment]
    job.revision = number("revision")
    job.progress.CopyFrom(
        jobs_pb2.JobProgress(
            audio_seconds=number("audio_ms") / 1000,
            prepared=bool(number("prepared")),
            windows=number("windows"),
            encoded_windows=number("encoded"),
            finished_windows=number("finished"),
            failed_windows=number("failed"),
            finished_seconds=number("ended_ms") / 1000,
        )
    )
    for field in ("create", "start", "end", "expire"):
        if milliseconds := number(f"{field}_ms"):
            stamp = Timestamp()
            stamp.FromMilliseconds(milliseconds)
            getattr(job, f"{field}_time").CopyFrom(stamp)
    if b"error" in facts:
        job.error.CopyFrom(jobs_pb2.JobError.FromString(facts[b"error"]))


def _not_found(name: str) -> NotFound:
    return NotFound(f"there is no job {name[:80]!r}", reason="JOB_NOT_FOUND", metadata={"name": name[:80]})
