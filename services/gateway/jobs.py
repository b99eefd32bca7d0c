"""Jobs as callers see them: checked, accepted, listed, watched, canceled, removed. Workers do the rest."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

from auricle.v1 import jobs_pb2
from services.common.auth import current_tenant
from services.common.errors import FailedPrecondition, NotFound
from services.gateway.job_pages import Page, PageToken, matching
from services.gateway.job_sources import JobSources
from services.gateway.job_validation import check_create
from services.gateway.webhook_checks import WebhookChecks
from services.jobstore.blobs import JobBlobs
from services.jobstore.dispatch import Dispatcher
from services.jobstore.model import JobRecord, QueueLimits, Step, Unit, new_id, resource_name
from services.jobstore.record import JobStore

_SCANNED_AT_ONCE = 200
# A filter that few jobs match may end a page before it is full (AIP-158).
_MOST_SCANS = 25


@dataclass(frozen=True)
class JobChange:
    """A job after a change, and what was found since the change before."""

    record: JobRecord
    segments: list[jobs_pb2.ResultSegment]


class Jobs:
    """The jobs of the calling tenant.

    Args:
        store: their records.
        blobs: their recordings and results.
        sources: where recordings come from.
        webhooks: knows which may be told.
        dispatcher: tells the workers.
        limits: how much may wait.
    """

    def __init__(
        self,
        store: JobStore,
        blobs: JobBlobs,
        sources: JobSources,
        webhooks: WebhookChecks,
        dispatcher: Dispatcher,
        limits: QueueLimits,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._sources = sources
        self._webhooks = webhooks
        self._dispatcher = dispatcher
        self._limits = limits

    async def create(self, request: jobs_pb2.CreateAnalysisJobRequest) -> jobs_pb2.AnalysisJob:
        """Accept a job.

        Raises:
            InvalidArgument: the request breaks the contract.
            NotFound: the recording is not there (AUDIO_NOT_FOUND).
            FailedPrecondition: its URI or the webhook cannot be called; see JobSources and WebhookChecks.
            AlreadyExists: `request_id` was used for another request (REQUEST_ID_REUSED).
            ResourceExhausted: too much audio waits (JOB_QUEUE_FULL).
        """
        wanted = check_create(request)
        tenant = current_tenant()
        request_id = uuid.UUID(request.request_id).hex if request.request_id else ""
        body_sha256 = hashlib.sha256(wanted.SerializeToString(deterministic=True)).hexdigest()
        # Before the recording is looked for: it may be gone when the request comes again.
        if earlier := await self._store.earlier(tenant, request_id, body_sha256):
            return earlier.job
        estimate_seconds = await self._sources.find(tenant, wanted.audio)
        await self._webhooks.check(tenant, wanted.webhook.url)
        if request.validate_only:
            return wanted
        record = JobRecord(new_id(), tenant, wanted)
        wanted.name = resource_name(record.id)
        # The recording first: a worker may be at the job before this call returns.
        await self._sources.keep(tenant, record.id, wanted.audio)
        try:
            kept, is_new = await self._store.create(
                record,
                estimate_seconds=estimate_seconds,
                request_id=request_id,
                body_sha256=body_sha256,
                limits=self._limits,
            )
        except BaseException:
            await self._blobs.delete_job(tenant, record.id)
            raise
        if is_new:
            units = [Unit(record.id, Step.PREPARE)]
            await asyncio.to_thread(self._dispatcher.send, units, kept.job.priority)
        else:
            await self._blobs.delete_job(tenant, record.id)
        return kept.job

    async def get(self, name: str) -> jobs_pb2.AnalysisJob:
        """A job as it stands.

        Raises:
            NotFound: JOB_NOT_FOUND.
        """
        return (await self._store.get(current_tenant(), name)).job

    async def list(self, request: jobs_pb2.ListAnalysisJobsRequest) -> Page:
        """A page of jobs, newest first.

        Raises:
            InvalidArgument: page size, filter (FILTER_INVALID) or token (PAGE_TOKEN_INVALID) is wrong.
        """
        tenant = current_tenant()
        token = PageToken.read(request, tenant)
        wanted, size = matching(request.filter), token.page_size
        jobs: list[jobs_pb2.AnalysisJob] = []
        cursor = token.after
        for _ in range(_MOST_SCANS):
            entries = await self._store.newest(tenant, cursor, _SCANNED_AT_ONCE)
            records = {record.id: record for record in await self._store.find_all([job_id for _, job_id in entries])}
            for entry in entries:
                if entry[1] in records and wanted(records[entry[1]].job):
                    if len(jobs) == size:
                        return Page(jobs, token.next(cursor))
                    jobs.append(records[entry[1]].job)
                cursor = entry
            if len(entries) < _SCANNED_AT_ONCE:
                return Page(jobs, "")
        return Page(jobs, token.next(cursor))

    async def watch(self, name: str) -> AsyncIterator[JobChange]:
        """The job now and after every change, until it has ended.

        Raises:
            NotFound: JOB_NOT_FOUND, at first or because it was removed meanwhile.
        """
        record = await self._store.get(current_tenant(), name)
        told = 0
        async for current in self._store.changes(record):
            segments = await self._store.results_since(record.id, told)
            told += len(segments)
            record = current
            yield JobChange(current, [segment for segment in segments if segment.text or segment.label])
        if record.is_active:
            raise NotFound("the job was removed meanwhile", reason="JOB_NOT_FOUND", metadata={"name": name[:80]})

    async def result(self, name: str) -> jobs_pb2.AnalysisResult:
        """What a job found.

        Raises:
            NotFound: JOB_NOT_FOUND.
            FailedPrecondition: it has none yet (JOB_NOT_FINISHED), or will never have one (JOB_HAS_NO_RESULT).
        """
        record = await self.succeeded(name)
        return await self._blobs.get_result(record.tenant, record.id, record.result_key)

    async def succeeded(self, name: str) -> JobRecord:
        """A job that has a result.

        Raises:
            NotFound, FailedPrecondition: see `result`.
        """
        record = await self._store.get(current_tenant(), name)
        if record.is_active:
            raise FailedPrecondition("the job has not ended yet", reason="JOB_NOT_FINISHED", retry_after_seconds=5.0)
        if record.job.state != jobs_pb2.AnalysisJob.STATE_SUCCEEDED:
            state = jobs_pb2.AnalysisJob.State.Name(record.job.state).removeprefix("STATE_").lower()
            raise FailedPrecondition(f"the job is {state}; it has no result", reason="JOB_HAS_NO_RESULT")
        return record

    async def cancel(self, name: str) -> jobs_pb2.AnalysisJob:
        """Stop a job.

        Raises:
            NotFound: JOB_NOT_FOUND.
            FailedPrecondition: it has ended otherwise (JOB_FINISHED).
        """
        return (await self._store.cancel(current_tenant(), name)).job

    async def delete(self, name: str) -> None:
        """Remove a job with all that it keeps.

        Raises:
            NotFound: JOB_NOT_FOUND.
        """
        record = await self._store.get(current_tenant(), name)
        await self._store.delete(record.id)
        await self._blobs.delete_job(record.tenant, record.id)
