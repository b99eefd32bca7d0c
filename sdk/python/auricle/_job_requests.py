"""What users say about jobs, turned into requests."""

import re
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from auricle._job_types import JobFacts
from auricle._requests import generation_config
from auricle._types import Audio
from auricle.v1 import jobs_pb2

TASKS = ("transcribe", "analyze", "segment")
PRIORITIES = {
    "interactive": jobs_pb2.JOB_PRIORITY_INTERACTIVE,
    "normal": jobs_pb2.JOB_PRIORITY_NORMAL,
    "bulk": jobs_pb2.JOB_PRIORITY_BULK,
}
FORMATS = {
    "txt": jobs_pb2.RESULT_FORMAT_TXT,
    "json": jobs_pb2.RESULT_FORMAT_JSON,
    "srt": jobs_pb2.RESULT_FORMAT_SRT,
    "vtt": jobs_pb2.RESULT_FORMAT_VTT,
}
_URI = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def job_name(job: JobFacts | str) -> str:
    """The name of a job that is given as one or by its name."""
    return job.name if isinstance(job, JobFacts) else job


def recording_of(audio: Any) -> jobs_pb2.JobAudio | None:
    """Where a recording is that the platform can reach; None when it must be uploaded first."""
    if isinstance(audio, Audio):
        return jobs_pb2.JobAudio(name=audio.name)
    if isinstance(audio, str) and _URI.match(audio):
        return jobs_pb2.JobAudio(uri=audio)
    return None


def create_request(
    *,
    task: str,
    instruction: str | None,
    priority: str,
    labels: Mapping[str, str] | None,
    ttl: timedelta | float | None,
    webhook_url: str | None,
    request_id: str | None,
    validate_only: bool,
    generation: Mapping[str, Any],
) -> jobs_pb2.CreateAnalysisJobRequest:
    """The request for a job, without its recording. Every one has an id, so that it may be sent again.

    Raises:
        ValueError, TypeError: an argument is wrong.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, not {task!r}")
    if priority not in PRIORITIES:
        raise ValueError(f"priority must be one of {', '.join(PRIORITIES)}, not {priority!r}")
    if instruction is not None and task == "segment":
        raise ValueError("segment takes no instruction")
    job = jobs_pb2.AnalysisJob(priority=PRIORITIES[priority], labels=dict(labels or {}))
    job.task.config.CopyFrom(generation_config(generation))
    getattr(job.task, task).SetInParent()
    if instruction is not None:
        getattr(job.task, task).instruction = instruction
    if ttl is not None:
        job.ttl.FromTimedelta(ttl if isinstance(ttl, timedelta) else timedelta(seconds=ttl))
    if webhook_url is not None:
        job.webhook.url = webhook_url
    return jobs_pb2.CreateAnalysisJobRequest(
        analysis_job=job, request_id=request_id or str(uuid.uuid4()), validate_only=validate_only
    )


def result_request(name: str, file_format: str | None) -> jobs_pb2.GetAnalysisResultRequest:
    """The request for a result. Raises ValueError for an unknown format."""
    if file_format is not None and file_format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {file_format!r}")
    file = FORMATS[file_format] if file_format else jobs_pb2.RESULT_FORMAT_UNSPECIFIED
    return jobs_pb2.GetAnalysisResultRequest(name=name, format=file)


def ask_request(name: str, question: str, generation: Mapping[str, Any]) -> jobs_pb2.AskAnalysisJobRequest:
    """The request for an answer. Raises ValueError or TypeError for a wrong generation option."""
    return jobs_pb2.AskAnalysisJobRequest(name=name, question=question, config=generation_config(generation))
