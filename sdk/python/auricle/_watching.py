"""Watching a job over interruptions: what both clients share."""

import time
from collections.abc import Iterable

from auricle._connection import Call, Connection
from auricle._errors import AuricleError, DeadlineExceededError, UnavailableError
from auricle._job_types import ResultSegment, segments
from auricle.v1 import jobs_pb2

# A stream is asked for anew after this long, so that one that got lost on the way costs no more; and the watch goes on
# while nobody answers for this long.
STREAM_SECONDS = 60.0
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.5


class Watch:
    """One watch of a job, made of as many streams as it takes; nothing is told twice."""

    def __init__(self, connection: Connection, timeout_seconds: float | None) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + timeout_seconds if timeout_seconds is not None else None
        self._revision = -1
        self._told: set[tuple[float, float]] = set()
        self._heard_of = time.monotonic()

    def call(self) -> Call:
        """The next stream. Raises DeadlineExceededError when the watch has no time left."""
        seconds = STREAM_SECONDS
        if self._deadline is not None:
            seconds = min(seconds, self._deadline - time.monotonic())
        if seconds <= 0:
            raise DeadlineExceededError("the job has not ended in the time given")
        return self._connection.call(seconds)

    def news(self, response: jobs_pb2.WatchAnalysisJobResponse) -> tuple[ResultSegment, ...] | None:
        """Findings that are new; None when the message tells nothing new."""
        self._heard_of = time.monotonic()
        found = self._new(segments(response.segments))
        if not found and response.analysis_job.revision == self._revision:
            return None
        self._revision = response.analysis_job.revision
        return found

    def goes_on(self, error: AuricleError) -> bool:
        """Whether to ask for another stream after this error."""
        if isinstance(error, DeadlineExceededError):
            return self._deadline is None or time.monotonic() < self._deadline
        patient = time.monotonic() - self._heard_of < PATIENCE_SECONDS
        return isinstance(error, UnavailableError) and patient

    def _new(self, found: Iterable[ResultSegment]) -> tuple[ResultSegment, ...]:
        new = tuple(one for one in found if (one.start_seconds, one.end_seconds) not in self._told)
        self._told |= {(one.start_seconds, one.end_seconds) for one in new}
        return new
