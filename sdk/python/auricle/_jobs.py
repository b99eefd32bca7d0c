"""Jobs of the blocking client."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack

from auricle._errors import AuricleError
from auricle._job_requests import ask_request, create_request, job_name, recording_of, result_request
from auricle._job_types import JobFacts, JobResult, ResultSegment, facts, result
from auricle._requests import Generation
from auricle._upload import Progress
from auricle._watching import PAUSE_SECONDS, Watch
from auricle.v1 import jobs_pb2
from auricle.v1.jobs_pb2_grpc import AnalysisJobServiceStub

if TYPE_CHECKING:
    from auricle._client import Client

PAGE_SIZE = 100


@dataclass(frozen=True)
class Job(JobFacts):
    """A job as it stood when it was asked for; its methods are those of `client.jobs`, for this job."""

    _jobs: "Jobs" = field(repr=False, compare=False)

    def refresh(self) -> "Job":
        """The job as it stands now."""
        return self._jobs.get(self)

    def watch(self, *, timeout_seconds: float | None = None) -> Iterator["JobUpdate"]:
        """See `Jobs.watch`."""
        return self._jobs.watch(self, timeout_seconds=timeout_seconds)

    def wait(self, *, timeout_seconds: float | None = None) -> "Job":
        """See `Jobs.wait`."""
        return self._jobs.wait(self, timeout_seconds=timeout_seconds)

    def result(self, format: str | None = None) -> JobResult:
        """See `Jobs.result`."""
        return self._jobs.result(self, format)

    def ask(self, question: str, **generation: Unpack[Generation]) -> JobResult:
        """See `Jobs.ask`."""
        return self._jobs.ask(self, question, **generation)

    def cancel(self) -> "Job":
        """See `Jobs.cancel`."""
        return self._jobs.cancel(self)

    def delete(self) -> None:
        """See `Jobs.delete`."""
        self._jobs.delete(self)


@dataclass(frozen=True)
class JobUpdate:
    """A job after a change, and the findings of windows finished since the update before."""

    job: Job
    segments: tuple[ResultSegment, ...]


class Jobs:
    """Tasks over recordings of any length. `client.jobs` is one; a job is given as a Job or by its name.

    Methods raise what those of Client raise; NotFoundError when the tenant has no such job.
    """

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._connection = client._connection
        self._stub = AnalysisJobServiceStub(client._channel)

    def create(
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
    ) -> Job:
        """Hand in a job and return at once.

        Args:
            audio: an uploaded Audio, a URI of an allowed store or host, or whatever `Client.upload` takes, which is
                uploaded first; the job keeps its own copy.
            task: "transcribe", "analyze" (needs an instruction) or "segment".
            instruction: what the model is asked of each window.
            priority: "interactive", "normal" or "bulk".
            labels: your own marks, to be found again with `list`.
            ttl: how long the result is kept after the end, 1 minute to 90 days; 7 days by default.
            webhook_url: told when the job has ended.
            request_id: a UUID; the same one makes the same job. By default each call has its own.
            validate_only: check the request and create nothing; the job has no name.
            sample_rate: of an array, in Hz.
            on_progress: of the upload; see Client.upload.
            timeout_seconds: deadline of each call.
            **generation: see `Generation`.
        """
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
            return self._create(request, recording, timeout_seconds)
        uploaded = self._client.upload(
            audio, sample_rate=sample_rate, on_progress=on_progress, timeout_seconds=timeout_seconds
        )
        try:
            return self._create(request, jobs_pb2.JobAudio(name=uploaded.name), timeout_seconds)
        finally:
            # The job has its own copy; what is not removed here expires.
            with suppress(AuricleError):
                self._client.delete_audio(uploaded)

    def get(self, job: JobFacts | str) -> Job:
        """A job as it stands."""
        request = jobs_pb2.GetAnalysisJobRequest(name=job_name(job))
        with self._connection.call() as call:
            return self._job(self._stub.GetAnalysisJob(request, **call.arguments).analysis_job)

    def list(self, filter: str = "") -> Iterator[Job]:
        """The tenant's jobs, newest first, asked for page by page.

        Args:
            filter: terms joined by AND: `state = RUNNING`, `priority = BULK`, `labels.KEY = "value"`.
        """
        request = jobs_pb2.ListAnalysisJobsRequest(page_size=PAGE_SIZE, filter=filter)
        while True:
            with self._connection.call() as call:
                page = self._stub.ListAnalysisJobs(request, **call.arguments)
            yield from map(self._job, page.analysis_jobs)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def watch(self, job: JobFacts | str, *, timeout_seconds: float | None = None) -> Iterator[JobUpdate]:
        """The job now and after every change, until it has ended, with what was found since.

        A connection that breaks is made again. Raises DeadlineExceededError when the job has not ended in the time
        given; without one it may take for ever.
        """
        request, watch = jobs_pb2.WatchAnalysisJobRequest(name=job_name(job)), Watch(self._connection, timeout_seconds)
        while True:
            try:
                with watch.call() as call:
                    responses = self._stub.WatchAnalysisJob(request, **call.arguments)
                    try:
                        for response in responses:
                            found = watch.news(response)
                            current = self._job(response.analysis_job)
                            if found is not None:
                                yield JobUpdate(current, found)
                            if current.ended:
                                return
                    finally:
                        responses.cancel()
            except AuricleError as error:
                if not watch.goes_on(error):
                    raise
                time.sleep(PAUSE_SECONDS)

    def wait(self, job: JobFacts | str, *, timeout_seconds: float | None = None) -> Job:
        """The job once it has ended; see `watch` for the time it may take."""
        for update in self.watch(job, timeout_seconds=timeout_seconds):
            last = update.job
        return last

    def result(self, job: JobFacts | str, format: str | None = None) -> JobResult:
        """What a job found.

        Args:
            job: which.
            format: "txt", "json", "srt" or "vtt" also gives the result as a file of that format.

        Raises:
            FailedPreconditionError: it has not ended (JOB_NOT_FINISHED), or has no result (JOB_HAS_NO_RESULT).
        """
        request = result_request(job_name(job), format)
        with self._connection.call() as call:
            response = self._stub.GetAnalysisResult(request, **call.arguments)
        return result(response.result, response.file if format else None)

    def ask(
        self,
        job: JobFacts | str,
        question: str,
        *,
        timeout_seconds: float | None = None,
        **generation: Unpack[Generation],
    ) -> JobResult:
        """Ask about the recording of a succeeded job; `segments` are the answers window by window.

        Raises:
            FailedPreconditionError: it has no result, or another model than the present one heard the recording.
        """
        request = ask_request(job_name(job), question, generation)
        with self._connection.call(timeout_seconds) as call:
            return result(self._stub.AskAnalysisJob(request, **call.arguments).result)

    def cancel(self, job: JobFacts | str) -> Job:
        """Stop a job. Raises FailedPreconditionError (JOB_FINISHED) when it has ended otherwise."""
        request = jobs_pb2.CancelAnalysisJobRequest(name=job_name(job))
        with self._connection.call() as call:
            return self._job(self._stub.CancelAnalysisJob(request, **call.arguments).analysis_job)

    def delete(self, job: JobFacts | str) -> None:
        """Remove a job with its audio, embeddings and result."""
        request = jobs_pb2.DeleteAnalysisJobRequest(name=job_name(job))
        with self._connection.call() as call:
            self._stub.DeleteAnalysisJob(request, **call.arguments)

    def _create(
        self, request: jobs_pb2.CreateAnalysisJobRequest, audio: jobs_pb2.JobAudio, timeout_seconds: float | None
    ) -> Job:
        request.analysis_job.audio.CopyFrom(audio)
        with self._connection.call(timeout_seconds) as call:
            return self._job(self._stub.CreateAnalysisJob(request, **call.arguments).analysis_job)

    def _job(self, message: jobs_pb2.AnalysisJob) -> Job:
        return Job(**facts(message), _jobs=self)
