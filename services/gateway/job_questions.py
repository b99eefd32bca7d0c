"""Questions about the recording of a finished job, answered from its kept embeddings."""

import asyncio

from auricle.v1 import audio_pb2, jobs_pb2
from services.common.errors import FailedPrecondition, FieldViolation, NotFound
from services.common.generation import config_violations, refuse
from services.gateway.job_validation import MAX_INSTRUCTION_CHARS
from services.gateway.jobs import Jobs
from services.gateway.slots import Slots
from services.jobstore.blobs import JobBlobs
from services.jobstore.model import JobRecord
from services.jobstore.record import JobStore
from services.pipeline.asking import Asker, is_silent, supporting, supports
from services.pipeline.fleets import DecoderFleet
from services.pipeline.model_watch import ModelWatch, ServedModel

WINDOWS_AT_ONCE = 4


class JobQuestions:
    """Asks every window that the job heard, a few at once, and combines the answers.

    Args:
        jobs: finds the tenant's jobs.
        store: what is known of their windows.
        blobs: their embeddings.
        decoder: answers.
        models: tells whether the embeddings still mean something to it.
        max_concurrent: questions in progress; further ones are refused.
    """

    def __init__(
        self,
        jobs: Jobs,
        store: JobStore,
        blobs: JobBlobs,
        decoder: DecoderFleet,
        models: ModelWatch,
        max_concurrent: int,
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._blobs = blobs
        self._decoder = decoder
        self._models = models
        self._slots = Slots(max_concurrent, "questions about jobs")

    async def answer(self, request: jobs_pb2.AskAnalysisJobRequest) -> jobs_pb2.AnalysisResult:
        """The answer, with each window's as a segment.

        Raises:
            InvalidArgument: the question is empty or too long, or the decoding options are wrong.
            NotFound: JOB_NOT_FOUND.
            FailedPrecondition: the job has no result, or another model heard it (MODEL_CHANGED).
            ResourceExhausted: too many questions are in progress (GATEWAY_BUSY).
        """
        refuse(list(_violations(request)))
        with self._slots.take():
            record = await self._jobs.succeeded(request.name)
            model = await self._models.current()
            asker = Asker(self._decoder, request.config, is_bulk=False)
            failed = await self._store.failed_windows(record.id)
            unheard = {window.index for window in failed}
            windows = [w for index, w in (await self._store.windows(record.id)).items() if index not in unheard]
            segments = await self._segments(record, model, asker, request.question, windows)
            text = await asker.combine(
                request.question, supporting([segment.text for segment in segments]), model.context_tokens
            )
        return jobs_pb2.AnalysisResult(
            segments=segments,
            text=text,
            failed_windows=failed,
            received_seconds=record.job.progress.audio_seconds,
            heard_seconds=sum(window.duration_seconds for window in windows),
            model=model.name,
            cached_windows=len(windows),
            output_tokens=asker.output_tokens,
        )

    async def _segments(
        self, record: JobRecord, model: ServedModel, asker: Asker, question: str, windows: list[audio_pb2.AudioWindow]
    ) -> list[jobs_pb2.ResultSegment]:
        free = asyncio.Semaphore(WINDOWS_AT_ONCE)

        async def of(window: audio_pb2.AudioWindow) -> jobs_pb2.ResultSegment:
            async with free:
                embeddings = await self._embeddings(record, model, window.index)
                answer = await asker.ask(question, embeddings)
            return jobs_pb2.ResultSegment(
                start_seconds=window.start_seconds,
                end_seconds=window.start_seconds + window.duration_seconds,
                text=answer,
                supports_answer=supports(answer),
            )

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(of(window)) for window in windows if not is_silent(window)]
        except* Exception as errors:
            # The others were canceled because of the first.
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _embeddings(self, record: JobRecord, model: ServedModel, index: int) -> audio_pb2.Tensor:
        try:
            return await self._blobs.get_embeddings(record.tenant, record.id, index, model.fingerprint)
        except NotFound:
            raise FailedPrecondition(
                "another model than the present one heard this recording; hand it in again",
                reason="MODEL_CHANGED",
                metadata={"fingerprint": model.fingerprint},
            ) from None


def _violations(request: jobs_pb2.AskAnalysisJobRequest) -> list[FieldViolation]:
    violations = list(config_violations(request.config, "config"))
    if not request.question.strip() or len(request.question) > MAX_INSTRUCTION_CHARS:
        violations.append(FieldViolation("question", f"1 to {MAX_INSTRUCTION_CHARS} characters"))
    return violations
