"""The errors of preprocess.

AuricleError
├── InvalidArgument
│   └── UnusableAudio        the recording itself cannot be heard; the reason is one of domain.Reason
├── ResourceExhausted
│   ├── CostlyAudio          hearing it takes more memory or processor time than one recording is given
│   └── Busy                 every child works and the queue is full or slow              PREPROCESS_BUSY
├── DeadlineExceeded
│   ├── UploadStalled        the caller stopped sending                                   UPLOAD_STALLED
│   └── ReaderStalled        the caller stopped reading                                   READER_STALLED
└── Unavailable
    └── ChildLost            a child or the process that makes them was ended from outside  CHILD_LOST
"""

from services.common.errors import AuricleError, DeadlineExceeded, InvalidArgument, ResourceExhausted, Unavailable
from services.preprocess.domain import Reason, Refusal


class UnusableAudio(InvalidArgument):
    """The recording cannot be heard, whenever it is sent."""

    default_reason = Reason.AUDIO_MALFORMED


class CostlyAudio(ResourceExhausted):
    """The recording takes more than a recording is given. Carries no RetryInfo: it would again."""

    default_reason = Reason.AUDIO_CPU_EXCEEDED


class Busy(ResourceExhausted):
    """No child is free soon enough."""

    default_reason = "PREPROCESS_BUSY"


class UploadStalled(DeadlineExceeded):
    """The caller sent nothing for too long in the middle of an upload."""

    default_reason = "UPLOAD_STALLED"


class ReaderStalled(DeadlineExceeded):
    """The caller read nothing for too long while a window waited for it."""

    default_reason = "READER_STALLED"


class ChildLost(Unavailable):
    """The process that heard the recording was ended from outside; the same call may succeed."""

    default_reason = "CHILD_LOST"


_COSTLY = {Reason.AUDIO_CPU_EXCEEDED, Reason.AUDIO_MEMORY_EXCEEDED}


def of_refusal(refusal: Refusal) -> AuricleError:
    """The error that tells a caller of a refusal."""
    cls = CostlyAudio if refusal.reason in _COSTLY else UnusableAudio
    return cls(refusal.message, reason=refusal.reason, metadata=refusal.metadata)
