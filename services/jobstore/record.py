"""Job records in one Redis: the truth about every job.

Messages between workers carry ids only and may come late, twice or never; what counts is decided in record.lua, by
compare-and-set. A unit is leased with a fencing token: who lost the lease changes nothing any more, so a window counts
once, whatever died in between.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from redis.asyncio import Redis

from auricle.v1 import audio_pb2, jobs_pb2, preprocess_pb2
from services.common.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted
from services.jobstore.client import OUTAGES, PREFIX, RecordScript, now_ms, unavailable
from services.jobstore.model import JobRecord, QueueLimits, id_of, resource_name

MAX_FAILED_SHOWN = 100
QUEUE_FULL_RETRY_SECONDS = 30.0
_HOUR_MS = 3_600_000


class JobStore:
    """Reads records, and changes them as callers may.

    Args:
        redis: from `records_client`.
        lost_after_seconds: how long a message may take to a worker before it is sent again.
        clock_ms: for tests.
    """

    def __init__(self, redis: Redis, *, lost_after_seconds: float = 30.0, clock_ms: Callable[[], int] = now_ms) -> None:
        self._redis: Any = redis  # its stubs do not know that this client answers bytes
        self._script = RecordScript(redis, lost_after_seconds, clock_ms)

    async def earlier(self, tenant: str, request_id: str, body_sha256: str) -> JobRecord | None:
        """The job that the same request made before, if there is one.

        Raises:
            AlreadyExists: `request_id` was used for another request (REQUEST_ID_REUSED).
        """
        outcome, job_id = await self._script.run("earlier", "", _request_key(tenant, request_id), body_sha256)
        _refuse_reused(outcome, job_id)
        return await self.find(job_id.decode()) if outcome == b"same" else None

    async def create(
        self, record: JobRecord, *, estimate_seconds: float, request_id: str, body_sha256: str, limits: QueueLimits
    ) -> tuple[JobRecord, bool]:
        """Accept a job; the earlier one, and False, when the tenant's `request_id` made it already.

        Raises:
            AlreadyExists: `request_id` was used for another request (REQUEST_ID_REUSED).
            ResourceExhausted: too much audio waits (JOB_QUEUE_FULL).
        """
        outcome, job_id = await self._script.run(
            "create",
            record.id,
            record.tenant,
            record.job.SerializeToString(),
            record.job.ttl.ToMilliseconds(),
            int(estimate_seconds * 1000),
            _request_key(record.tenant, request_id),
            body_sha256,
            int(limits.tenant_hours * _HOUR_MS),
            int(limits.total_hours * _HOUR_MS),
            record.job.webhook.url,
        )
        _refuse_reused(outcome, job_id)
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
        """The job now and after every change, until it has ended or is gone. Changes in quick succession are one.

        Raises:
            Unavailable: Redis went away (JOBS_UNAVAILABLE).
        """
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            revision = -1
            try:
                await channel.subscribe(f"{PREFIX}changed:{record.id}")
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
            except OUTAGES as error:
                raise unavailable() from error

    async def cancel(self, tenant: str, name: str) -> JobRecord:
        """Stop a job; nothing changes when it is canceled already.

        Raises:
            NotFound: JOB_NOT_FOUND.
            FailedPrecondition: it has ended otherwise (JOB_FINISHED).
        """
        record = await self.get(tenant, name)
        state = int(await self._script.run("cancel", record.id) or 0)
        if state != jobs_pb2.AnalysisJob.STATE_CANCELED:
            raise FailedPrecondition("the job has ended already", reason="JOB_FINISHED", metadata={"name": name[:80]})
        return await self.get(tenant, name)

    async def delete(self, job_id: str) -> bool:
        """Remove a record; False when there was none."""
        return bool(await self._script.run("delete", job_id))

    async def find(self, job_id: str) -> JobRecord | None:
        """The job of that id, whoever owns it."""
        found = await self.find_all([job_id] if job_id else [])
        return found[0] if found else None

    async def find_all(self, job_ids: Sequence[str]) -> list[JobRecord]:
        """Those jobs of these ids that are there, in the same order."""
        pipeline = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.hgetall(f"{PREFIX}{job_id}")
        try:
            answers = await pipeline.execute()
        except OUTAGES as error:
            raise unavailable() from error
        found = []
        for job_id, facts in zip(job_ids, answers, strict=True):
            if b"spec" in facts:
                found.append(await self._record(job_id, facts))
        return found

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
        indexes = sorted(errors, key=int)
        facts = await self._redis.hmget(f"{PREFIX}{job_id}:windows", indexes) if indexes else []
        windows = [audio_pb2.AudioWindow.FromString(fact or b"") for fact in facts]
        return [
            jobs_pb2.FailedWindow(
                index=int(index),
                start_seconds=window.start_seconds,
                duration_seconds=window.duration_seconds,
                error=jobs_pb2.JobError.FromString(errors[index]),
            )
            for index, window in zip(indexes, windows, strict=True)
        ]

    async def totals(self, job_id: str) -> tuple[preprocess_pb2.PreprocessSummary, int, int]:
        """Preprocess' summary, windows whose embeddings were cached, and tokens generated."""
        summary, cached, tokens = await self._redis.hmget(f"{PREFIX}{job_id}", ["summary", "cached", "output_tokens"])
        return preprocess_pb2.PreprocessSummary.FromString(summary or b""), int(cached or 0), int(tokens or 0)

    async def _record(self, job_id: str, facts: dict[bytes, bytes]) -> JobRecord:
        job = jobs_pb2.AnalysisJob.FromString(facts[b"spec"])
        _fill(job, facts)
        if job.progress.failed_windows:
            job.failed_windows.extend((await self.failed_windows(job_id))[:MAX_FAILED_SHOWN])
        return JobRecord(job_id, facts[b"tenant"].decode(), job, facts.get(b"result", b"").decode())


def _request_key(tenant: str, request_id: str) -> str:
    return f"{tenant}:{request_id}" if request_id else ""


def _refuse_reused(outcome: bytes, job_id: bytes) -> None:
    if outcome == b"other":
        raise AlreadyExists(
            "request_id was used for another request; take a new one",
            reason="REQUEST_ID_REUSED",
            metadata={"analysis_job": resource_name(job_id.decode())},
        )


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
