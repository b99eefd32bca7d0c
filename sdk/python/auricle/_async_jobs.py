"""Jobs of the asyncio client. Same methods, same arguments, same errors as Jobs."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack

from auricle._errors import AuricleError
from auricle._job_requests import ask_request, create_request, job_name, recording_of, result_request
from auricle._job_types import JobFacts, JobResult, ResultSegment, facts, result
from auricle._jobs import PAGE_SIZE
from auricle._requests import Generation
from auricle._upload import Progress
from auricle._watching import PAUSE_SECONDS, Watch
from auricle.v1 import jobs_pb2
from auricle.v1.jobs_pb2_grpc import AnalysisJobServiceStub

if TYPE_CHECKING:
    from auricle._async_client import AsyncClient


@dataclass(frozen=True)
class AsyncJob(JobFacts):
    """A job as it stood when it was asked for; its methods are those of `client.jobs`, for this job."""

    _jobs: "AsyncJobs" = field(repr=False, compare=False)

    async def refresh(self) -> "AsyncJob":
        """The job as it stands now."""
        return await self._jobs.get(self)

    def watch(self, *, timeout_seconds: float | None = None) -> AsyncIterator["AsyncJobUpdate"]:
        """See `Jobs.watch`."""
        return self._jobs.watch(self, timeout_seconds=timeout_seconds)

    async def wait(self, *, timeout_seconds: float | None = None) -> "AsyncJob":
        """See `Jobs.wait`."""
        return await self._jobs.wait(self, timeout_seconds=timeout_seconds)

    async def result(self, format: str | None = None) -> JobResult:
        """See `Jobs.result`."""
        return await self._jobs.result(self, format)

    async def ask(self, question: str, **generation: Unpack[Generation]) -> JobResult:
        """See `Jobs.ask`."""
        return await self._jobs.ask(self, question, **generation)

    async def cancel(self) -> "AsyncJob":
        """See `Jobs.cancel`."""
        return await self._jobs.cancel(self)

    async def delete(self) -> None:
        """See `Jobs.delete`."""
        await self._jobs.delete(self)


@dataclass(frozen=True)
class AsyncJobUpdate:
    """A job after a change, and the findings of windows finished since the update before."""

    job: AsyncJob
    segments: tuple[ResultSegment, ...]


class AsyncJobs:
    """Tasks over recordings of any length; see Jobs for arguments and errors."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client
        self._connection = client._connection

    @property
    def _stub(self) -> AnalysisJobServiceStub:
        return AnalysisJobServiceStub(self._client._open_channel())

    async def create(
        self,
        audio: Any,
        *,
        task: str = "transcribe",
        instruction: str | None = None,
        priority: str = "normal",
        labels: Mapping[str, str] | None = None,
        ttl: timedelta | float | None = None,
        webhook_url: str | None = None,
        request_id: str | None = None,
        validate_only: bool = False,
        sample_rate: int | None = None,
        on_progress: Progress | None = None,
        timeout_seconds: float | None = None,
        **generation: Unpack[Generation],
    ) -> AsyncJob:
        """Hand in a job and return at once; see Jobs.create."""
        request = create_request(
            task=task,
            instruction=instruction,
            priority=priority,
            labels=labels,
            ttl=ttl,
            webhook_url=webhook_url,
            request_id=request_id,
            validate_only=validate_only,
            generation=generation,
        )
        if recording := recording_of(audio):
            return await self._create(request, recording, timeout_seconds)
        uploaded = await self._client.upload(
            audio, sample_rate=sample_rate, on_progress=on_progress, timeout_seconds=timeout_seconds
        )
        try:
            return await self._create(request, jobs_pb2.JobAudio(name=uploaded.name), timeout_seconds)
        finally:
            # The job has its own copy; what is not removed here expires.
            with suppress(AuricleError):
                await self._client.delete_audio(uploaded)

    async def get(self, job: JobFacts | str) -> AsyncJob:
        """A job as it stands."""
        request = jobs_pb2.GetAnalysisJobRequest(name=job_name(job))
        with self._connection.call() as call:
            return self._job((await self._stub.GetAnalysisJob(request, **call.arguments)).analysis_job)

    async def list(self, filter: str = "") -> AsyncIterator[AsyncJob]:
        """The tenant's jobs, newest first; see Jobs.list."""
        request = jobs_pb2.ListAnalysisJobsRequest(page_size=PAGE_SIZE, filter=filter)
        while True:
            with self._connection.call() as call:
                page = await self._stub.ListAnalysisJobs(request, **call.arguments)
            for job in page.analysis_jobs:
                yield self._job(job)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def watch(
        self, job: JobFacts | str, *, timeout_seconds: float | None = None
    ) -> AsyncIterator[AsyncJobUpdate]:
        """The job now and after every change, until it has ended; see Jobs.watch."""
        request, watch = jobs_pb2.WatchAnalysisJobRequest(name=job_name(job)), Watch(self._connection, timeout_seconds)
        while True:
            try:
                with watch.call() as call:
                    responses = self._stub.WatchAnalysisJob(request, **call.arguments)
                    try:
                        async for response in responses:
                            found = watch.news(response)
                            current = self._job(response.analysis_job)
                            if found is not None:
                                yield AsyncJobUpdate(current, found)
                            if current.ended:
                                return
                    finally:
                        responses.cancel()
            except AuricleError as error:
                if not watch.goes_on(error):
                    raise
                await asyncio.sleep(PAUSE_SECONDS)

    async def wait(self, job: JobFacts | str, *, timeout_seconds: float | None = None) -> AsyncJob:
        """The job once it has ended; see Jobs.wait."""
        async for update in self.watch(job, timeout_seconds=timeout_seconds):
            last = update.job
        return last

    async def result(self, job: JobFacts | str, format: str | None = None) -> JobResult:
        """What a job found; see Jobs.result."""
        request = result_request(job_name(job), format)
        with self._connection.call() as call:
            response = await self._stub.GetAnalysisResult(request, **call.arguments)
        return result(response.result, response.file if format else None)

    async def ask(
        self,
        job: JobFacts | str,
        question: str,
        *,
        timeout_seconds: float | None = None,
        **generation: Unpack[Generation],
    ) -> JobResult:
        """Ask about the recording of a succeeded job; see Jobs.ask."""
        request = ask_request(job_name(job), question, generation)
        with self._connection.call(timeout_seconds) as call:
            return result((await self._stub.AskAnalysisJob(request, **call.arguments)).result)

    async def cancel(self, job: JobFacts | str) -> AsyncJob:
        """Stop a job; see Jobs.cancel."""
        request = jobs_pb2.CancelAnalysisJobRequest(name=job_name(job))
        with self._connection.call() as call:
            return self._job((await self._stub.CancelAnalysisJob(request, **call.arguments)).analysis_job)

    async def delete(self, job: JobFacts | str) -> None:
        """Remove a job with its audio, embeddings and result."""
        request = jobs_pb2.DeleteAnalysisJobRequest(name=job_name(job))
        with self._connection.call() as call:
            await self._stub.DeleteAnalysisJob(request, **call.arguments)

    async def _create(
        self, request: jobs_pb2.CreateAnalysisJobRequest, audio: jobs_pb2.JobAudio, timeout_seconds: float | None
    ) -> AsyncJob:
        request.analysis_job.audio.CopyFrom(audio)
        with self._connection.call(timeout_seconds) as call:
            return self._job((await self._stub.CreateAnalysisJob(request, **call.arguments)).analysis_job)

    def _job(self, message: jobs_pb2.AnalysisJob) -> AsyncJob:
        return AsyncJob(**facts(message), _jobs=self)
