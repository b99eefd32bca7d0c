"""What a request for a job must be before it is accepted."""

import re
from collections.abc import Iterator

from auricle.v1 import jobs_pb2
from services.common.errors import FieldViolation
from services.common.generation import config_violations, refuse
from services.gateway.ids import uuid_hex

MAX_INSTRUCTION_CHARS = 2_000
MAX_LABELS = 32
MAX_LABEL_CHARS = 255
MIN_TTL_SECONDS = 60
MAX_TTL_SECONDS = 90 * 86_400
DEFAULT_TTL_SECONDS = 7 * 86_400
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_.-]{0,62}")


def check_create(request: jobs_pb2.CreateAnalysisJobRequest) -> jobs_pb2.AnalysisJob:
    """The job that is wanted: the caller's fields with defaults filled in, and none that the service sets.

    Raises:
        InvalidArgument: with a violation for each mistake.
    """
    refuse(list(_violations(request)))
    given = request.analysis_job
    job = jobs_pb2.AnalysisJob(
        audio=given.audio,
        task=given.task,
        priority=given.priority or jobs_pb2.JOB_PRIORITY_NORMAL,
        labels=given.labels,
    )
    if given.HasField("webhook"):
        job.webhook.CopyFrom(given.webhook)
    job.ttl.FromSeconds(DEFAULT_TTL_SECONDS)
    if given.HasField("ttl"):
        job.ttl.CopyFrom(given.ttl)
    return job


def _violations(request: jobs_pb2.CreateAnalysisJobRequest) -> Iterator[FieldViolation]:
    job = request.analysis_job
    yield from _source_violations(job)
    yield from _task_violations(job.task)
    if job.priority not in jobs_pb2.JobPriority.values():
        yield FieldViolation("analysis_job.priority", f"{job.priority} is none of the priorities")
    if len(job.labels) > MAX_LABELS:
        yield FieldViolation("analysis_job.labels", f"at most {MAX_LABELS}, {len(job.labels)} came")
    for key, value in job.labels.items():
        if not _LABEL_KEY.fullmatch(key):
            yield FieldViolation(
                "analysis_job.labels", f"key {key[:80]!r}: 1 to 63 of a-z, 0-9, '_', '.', '-', beginning with a letter"
            )
        if len(value) > MAX_LABEL_CHARS:
            yield FieldViolation(f"analysis_job.labels[{key[:63]}]", f"at most {MAX_LABEL_CHARS} characters")
    if job.HasField("ttl") and not MIN_TTL_SECONDS <= job.ttl.seconds <= MAX_TTL_SECONDS:
        yield FieldViolation("analysis_job.ttl", f"{MIN_TTL_SECONDS} to {MAX_TTL_SECONDS} seconds")
    if request.request_id and uuid_hex(request.request_id) is None:
        yield FieldViolation("request_id", "must be a UUID")


def _source_violations(job: jobs_pb2.AnalysisJob) -> Iterator[FieldViolation]:
    if not job.audio.uri and not job.audio.name:
        yield FieldViolation("analysis_job.audio.name", "must name an uploaded recording, or uri where one is")
    if job.audio.name and job.audio.HasField("raw_pcm"):
        yield FieldViolation("analysis_job.audio.raw_pcm", "an upload was described when it was made")
    if job.HasField("webhook") and not job.webhook.url:
        yield FieldViolation("analysis_job.webhook.url", "must not be empty; leave the webhook out for none")


def _task_violations(task: jobs_pb2.AnalysisTask) -> Iterator[FieldViolation]:
    kind = task.WhichOneof("task")
    if kind is None:
        yield FieldViolation("analysis_job.task", "must be transcribe, analyze or segment")
    if kind == "analyze" and not task.analyze.instruction.strip():
        yield FieldViolation("analysis_job.task.analyze.instruction", "must not be empty")
    for name in ("analyze", "transcribe"):
        if kind == name and len(getattr(task, name).instruction) > MAX_INSTRUCTION_CHARS:
            yield FieldViolation(f"analysis_job.task.{name}.instruction", f"at most {MAX_INSTRUCTION_CHARS} characters")
    yield from config_violations(task.config, "analysis_job.task.config")
