"""Jobs and their results, as plain frozen dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from auricle._types import _read, _read_all
from auricle.v1 import jobs_pb2

ENDED = ("succeeded", "failed", "canceled")


@dataclass(frozen=True)
class JobProgress:
    """How far a job is.

    Attributes:
        audio_seconds: seconds of audio found so far; final once `prepared` is true.
        prepared: True once the whole recording is cut into windows.
        windows: windows found so far.
        encoded_windows: windows whose embeddings are there.
        finished_windows: windows with a result.
        failed_windows: windows that were given up.
        finished_seconds: seconds of audio in finished and failed windows.
    """

    audio_seconds: float
    prepared: bool
    windows: int
    encoded_windows: int
    finished_windows: int
    failed_windows: int
    finished_seconds: float


@dataclass(frozen=True)
class JobFailure:
    """Why a job or a window failed: google.rpc.Code, a reason for programs, a sentence for people, and facts."""

    code: int
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FailedWindow:
    """A stretch of the recording that has no result, and why."""

    index: int
    start_seconds: float
    duration_seconds: float
    error: JobFailure


@dataclass(frozen=True)
class ResultSegment:
    """A finding with its time range.

    Attributes:
        start_seconds: where it begins.
        end_seconds: where it ends.
        text: text of a transcript, an answer, or what is heard in a stretch.
        label: of a timeline: "speech", "music", "sound" or "silence"; empty otherwise.
        supports_answer: True when it supports the combined answer.
    """

    start_seconds: float
    end_seconds: float
    text: str
    label: str
    supports_answer: bool


@dataclass(frozen=True)
class JobResult:
    """What a job found; `str(result)` is its text.

    Attributes:
        text: the transcript, the combined answer, or a summary line of the timeline.
        segments: what was found along the time, in order.
        failed_windows: stretches that have no result.
        received_seconds: seconds of the recording as decoded.
        heard_seconds: seconds given to the model.
        warnings: places that could not be decoded, for people.
        model: name of the model that answered.
        cached_windows: windows whose embeddings came from the cache.
        output_tokens: tokens generated over all windows.
        file: the result in the format that was asked for; None when none was.
    """

    text: str
    segments: tuple[ResultSegment, ...]
    failed_windows: tuple[FailedWindow, ...]
    received_seconds: float
    heard_seconds: float
    warnings: tuple[str, ...]
    model: str
    cached_windows: int
    output_tokens: int
    file: str | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class JobFacts:
    """A job as it stood when it was asked for.

    Attributes:
        name: resource name, "analysisJobs/{analysis_job}".
        state: "queued", "running", "succeeded", "failed" or "canceled".
        task: "transcribe", "analyze" or "segment".
        instruction: what the model is asked of each window; empty for the default.
        audio: name or URI of its recording.
        priority: "interactive", "normal" or "bulk".
        labels: the caller's own marks.
        progress: how far it is.
        error: why it failed.
        failed_windows: windows that have no result, at most 100 of them.
        create_time, start_time, end_time: when it was accepted, begun, ended, in UTC.
        expire_time: when all of it will be removed.
        revision: changes with every change of the job.
    """

    name: str
    state: str
    task: str
    instruction: str
    audio: str
    priority: str
    labels: Mapping[str, str]
    progress: JobProgress
    error: JobFailure | None
    failed_windows: tuple[FailedWindow, ...]
    create_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    expire_time: datetime | None
    revision: int

    @property
    def ended(self) -> bool:
        """True once nothing more will happen."""
        return self.state in ENDED


def facts(job: jobs_pb2.AnalysisJob) -> dict[str, Any]:
    """The fields of JobFacts in a message."""
    kind = job.task.WhichOneof("task") or ""
    times = ("create_time", "start_time", "end_time", "expire_time")
    return {
        "name": job.name,
        "state": _word(jobs_pb2.AnalysisJob.State, job.state, "STATE_"),
        "task": kind,
        "instruction": getattr(getattr(job.task, kind), "instruction", "") if kind else "",
        "audio": job.audio.name or job.audio.uri,
        "priority": _word(jobs_pb2.JobPriority, job.priority, "JOB_PRIORITY_"),
        "labels": dict(job.labels),
        "progress": _read(JobProgress, job.progress),
        "error": _failure(job.error) if job.HasField("error") else None,
        "failed_windows": _failed(job.failed_windows),
        **{name: _time(job, name) for name in times},
        "revision": job.revision,
    }


def segments(messages: Any) -> tuple[ResultSegment, ...]:
    """Findings in messages."""
    return _read_all(ResultSegment, messages)


def result(message: jobs_pb2.AnalysisResult, file: bytes | None = None) -> JobResult:
    """The result in a message, with its file."""
    return _read(
        JobResult,
        message,
        segments=segments(message.segments),
        failed_windows=_failed(message.failed_windows),
        warnings=tuple(message.warnings),
        file=None if file is None else file.decode(),
    )


def _failed(messages: Any) -> tuple[FailedWindow, ...]:
    return tuple(_read(FailedWindow, message, error=_failure(message.error)) for message in messages)


def _failure(error: jobs_pb2.JobError) -> JobFailure:
    return _read(JobFailure, error, metadata=dict(error.metadata))


def _time(job: jobs_pb2.AnalysisJob, name: str) -> datetime | None:
    return getattr(job, name).ToDatetime(tzinfo=UTC) if job.HasField(name) else None


def _word(enum: Any, value: int, prefix: str) -> str:
    # A newer server may know values that this SDK does not.
    name = enum.Name(value) if value in enum.values() else str(value)
    return str(name).removeprefix(prefix).lower()
