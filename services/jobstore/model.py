"""What a job is made of."""

import re
import uuid
from dataclasses import dataclass
from enum import StrEnum

from auricle.v1 import jobs_pb2

ROOT = "analysisJobs"
_NAME = re.compile(rf"{ROOT}/([0-9a-f]{{32}})")


class Step(StrEnum):
    """A kind of work; each has a queue of its own."""

    PREPARE = "prepare"  # the recording to windows; once a job
    ENCODE = "encode"  # a window to embeddings
    DECODE = "decode"  # its embeddings to a result
    FINISH = "finish"  # all results to the job's; once a job


@dataclass(frozen=True)
class Unit:
    """A piece of work that one worker does at a time."""

    job_id: str
    step: Step
    index: int = 0

    @property
    def field(self) -> str:
        """Its name within the job."""
        return f"{self.step}/{self.index}"

    def __str__(self) -> str:
        return f"{self.job_id}/{self.field}"

    @classmethod
    def parse(cls, text: str) -> "Unit":
        """The unit that `str` named."""
        job_id, step, index = text.split("/")
        return cls(job_id, Step(step), int(index))


@dataclass(frozen=True)
class Lease:
    """The right to work on a unit and to say what came of it, until somebody else has it."""

    unit: Unit
    token: str
    attempt: int


class LeaseLost(Exception):
    """The job has ended, or another worker has the unit: what was done counts for nothing."""


@dataclass(frozen=True)
class JobRecord:
    """A job as it stands.

    Attributes:
        id: 32 hex digits.
        tenant: whose it is.
        job: as its owner sees it.
        result_key: under which its result is kept; empty before it has one.
    """

    id: str
    tenant: str
    job: jobs_pb2.AnalysisJob
    result_key: str = ""

    @property
    def is_active(self) -> bool:
        """True until it has ended."""
        return self.job.state in (jobs_pb2.AnalysisJob.STATE_QUEUED, jobs_pb2.AnalysisJob.STATE_RUNNING)

    @property
    def is_bulk(self) -> bool:
        """Whether the decoder answers interactive callers first: unless somebody waits for the job."""
        return self.job.priority != jobs_pb2.JOB_PRIORITY_INTERACTIVE


@dataclass(frozen=True)
class QueueLimits:
    """How much audio may wait.

    Attributes:
        tenant_hours: of one tenant's jobs.
        total_hours: of everybody's.
    """

    tenant_hours: float = 100.0
    total_hours: float = 1000.0


def new_id() -> str:
    """An id that nobody can guess."""
    return uuid.uuid4().hex


def resource_name(job_id: str) -> str:
    """The name that callers use."""
    return f"{ROOT}/{job_id}"


def id_of(name: str) -> str:
    """The id in a name; empty for a name that can be none of ours."""
    match = _NAME.fullmatch(name)
    return match[1] if match else ""
