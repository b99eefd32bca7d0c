"""Every name that users import from `auricle`."""

from auricle._async_client import AsyncClient
from auricle._async_jobs import AsyncJob, AsyncJobs, AsyncJobUpdate
from auricle._client import Client
from auricle._connection import TLSConfig
from auricle._errors import (
    AbortedError,
    AlreadyExistsError,
    AuricleError,
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    FieldViolation,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    UnknownError,
)
from auricle._job_types import FailedWindow, JobFailure, JobProgress, JobResult, ResultSegment
from auricle._jobs import Job, Jobs, JobUpdate
from auricle._requests import Conversation, Generation
from auricle._stream import AsyncTextStream, TextStream
from auricle._types import Answer, Audio, AudioWindow, HeardAudio, Model, ServiceStatus, ServiceTiming, Usage
from auricle._version import __version__

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "Answer",
    "AsyncClient",
    "AsyncJob",
    "AsyncJobUpdate",
    "AsyncJobs",
    "AsyncTextStream",
    "Audio",
    "AudioWindow",
    "AuricleError",
    "CancelledError",
    "Client",
    "Conversation",
    "DataLossError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "FailedWindow",
    "FieldViolation",
    "Generation",
    "HeardAudio",
    "InternalError",
    "InvalidArgumentError",
    "Job",
    "JobFailure",
    "JobProgress",
    "JobResult",
    "JobUpdate",
    "Jobs",
    "Model",
    "NotFoundError",
    "OutOfRangeError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "ResultSegment",
    "ServiceStatus",
    "ServiceTiming",
    "TLSConfig",
    "TextStream",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "Usage",
    "__version__",
]
