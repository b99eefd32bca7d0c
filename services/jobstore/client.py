"""A Redis client for records, whose outages are errors of the platform, and the script that changes records."""

import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import TimeoutError as NoAnswer

from services.common.errors import Unavailable

PREFIX = "auricle:jobs:"
# A Redis that is started again answers within a second or two; the script may be told the same twice.
_RETRIES = 4
OUTAGES = (LostConnection, NoAnswer, OSError)


class RecordsRedis(Redis):
    """A client that answers bytes and raises Unavailable (JOBS_UNAVAILABLE) while Redis is not there."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command; see redis.asyncio.Redis."""
        try:
            return await super().execute_command(*args, **options)
        except OUTAGES as error:
            raise unavailable() from error


def records_client(url: str) -> RecordsRedis:
    """A client of the Redis at `url`; close it with `aclose`."""
    retry = Retry(ExponentialBackoff(cap=1.0, base=0.1), _RETRIES)
    return RecordsRedis.from_url(  # type: ignore[return-value]
        url, socket_timeout=10.0, socket_connect_timeout=2.0, retry=retry
    )


def unavailable() -> Unavailable:
    """The error of a Redis that is not there."""
    return Unavailable("the records of jobs are not there now", reason="JOBS_UNAVAILABLE", retry_after_seconds=1.0)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


class RecordScript:
    """Runs the operations of record.lua.

    Args:
        redis: from `records_client`.
        lost_after_seconds: how long a message may take to a worker before it is sent again.
        now_ms: the clock, for tests.
    """

    def __init__(self, redis: Redis, lost_after_seconds: float, now_ms: Callable[[], int]) -> None:
        self._lost_after_ms = int(lost_after_seconds * 1000)
        self.now_ms = now_ms
        self._script = redis.register_script(files("services.jobstore").joinpath("record.lua").read_text())

    async def run(self, operation: str, job_id: str, *arguments: Any) -> Any:
        """The operation's answer; told twice, it changes nothing the second time."""
        keys, given = [PREFIX], [operation, self.now_ms(), self._lost_after_ms, job_id, *arguments]
        return await self._script(keys=keys, args=given)
