"""AnalysisJobService: from the contract to the domain and back, nothing else."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from auricle.v1 import jobs_pb2, jobs_pb2_grpc
from services.common.errors import FailedPrecondition
from services.gateway.job_questions import JobQuestions
from services.gateway.jobs import Jobs
from services.gateway.result_files import result_file

PartT = TypeVar("PartT")


class AnalysisJobServicer(jobs_pb2_grpc.AnalysisJobServiceServicer):
    """Serves jobs; without any, which is a platform without Redis, every call says so."""

    def __init__(self, jobs: Jobs | None, questions: JobQuestions | None) -> None:
        self._maybe_jobs = jobs
        self._maybe_questions = questions

    @property
    def _jobs(self) -> Jobs:
        return _there(self._maybe_jobs)

    async def CreateAnalysisJob(
        self, request: jobs_pb2.CreateAnalysisJobRequest, context: Any
    ) -> jobs_pb2.CreateAnalysisJobResponse:
        """Accept a job."""
        return jobs_pb2.CreateAnalysisJobResponse(analysis_job=await self._jobs.create(request))

    async def GetAnalysisJob(
        self, request: jobs_pb2.GetAnalysisJobRequest, context: Any
    ) -> jobs_pb2.GetAnalysisJobResponse:
        """A job as it stands."""
        return jobs_pb2.GetAnalysisJobResponse(analysis_job=await self._jobs.get(request.name))

    async def ListAnalysisJobs(
        self, request: jobs_pb2.ListAnalysisJobsRequest, context: Any
    ) -> jobs_pb2.ListAnalysisJobsResponse:
        """A page of jobs."""
        page = await self._jobs.list(request)
        return jobs_pb2.ListAnalysisJobsResponse(analysis_jobs=page.jobs, next_page_token=page.next_page_token)

    async def WatchAnalysisJob(
        self, request: jobs_pb2.WatchAnalysisJobRequest, context: Any
    ) -> AsyncIterator[jobs_pb2.WatchAnalysisJobResponse]:
        """A job after each change."""
        async for change in self._jobs.watch(request.name):
            yield jobs_pb2.WatchAnalysisJobResponse(analysis_job=change.record.job, segments=change.segments)

    async def GetAnalysisResult(
        self, request: jobs_pb2.GetAnalysisResultRequest, context: Any
    ) -> jobs_pb2.GetAnalysisResultResponse:
        """What a job found."""
        result = await self._jobs.result(request.name)
        return jobs_pb2.GetAnalysisResultResponse(result=result, file=result_file(result, request.format))

    async def CancelAnalysisJob(
        self, request: jobs_pb2.CancelAnalysisJobRequest, context: Any
    ) -> jobs_pb2.CancelAnalysisJobResponse:
        """Stop a job."""
        return jobs_pb2.CancelAnalysisJobResponse(analysis_job=await self._jobs.cancel(request.name))

    async def DeleteAnalysisJob(
        self, request: jobs_pb2.DeleteAnalysisJobRequest, context: Any
    ) -> jobs_pb2.DeleteAnalysisJobResponse:
        """Remove a job."""
        await self._jobs.delete(request.name)
        return jobs_pb2.DeleteAnalysisJobResponse()

    async def AskAnalysisJob(
        self, request: jobs_pb2.AskAnalysisJobRequest, context: Any
    ) -> jobs_pb2.AskAnalysisJobResponse:
        """What a question about a finished job's recording is answered."""
        return jobs_pb2.AskAnalysisJobResponse(result=await _there(self._maybe_questions).answer(request))


def _there(part: PartT | None) -> PartT:
    if part is None:
        raise FailedPrecondition("this platform runs no jobs: it has no Redis", reason="JOBS_DISABLED")
    return part
