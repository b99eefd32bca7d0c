"""Which workers are there: each says so every few seconds in a sorted set of Redis, with the time as its score.

Celery's own remote control could be asked instead, but a question to everybody takes as long as the slowest answer may,
and this is asked by whoever looks at the platform's status.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from services.common import telemetry
from services.common.errors import Unavailable
from services.jobstore.client import PREFIX, RecordsRedis

SAID_EVERY_SECONDS = 2.0
# A worker that is busy or has lost Redis for a moment is still there.
GONE_AFTER_SECONDS = 3 * SAID_EVERY_SECONDS
FORGOTTEN_AFTER_SECONDS = 60.0
_KEY = f"{PREFIX}workers"


@dataclass(frozen=True)
class Worker:
    """A worker, and the queues it takes from."""

    name: str
    queues: frozenset[str]


async def present(redis: RecordsRedis) -> list[Worker]:
    """The workers that were heard of in the last seconds, by name.

    Raises:
        Unavailable: Redis is not there.
    """
    now, _ = await redis.time()
    members = cast(list[bytes], await redis.zrangebyscore(_KEY, now - GONE_AFTER_SECONDS, "+inf"))
    found = (member.decode().rsplit(" ", 1) for member in members)
    return sorted((Worker(name, frozenset(queues.split(","))) for name, queues in found), key=lambda each: each.name)


async def say_present(redis: RecordsRedis, worker: Worker) -> None:
    """Say once that a worker is there.

    Raises:
        Unavailable: Redis is not there.
    """
    now, _ = await redis.time()
    await redis.zadd(_KEY, {_member(worker): now})
    await redis.zremrangebyscore(_KEY, "-inf", now - FORGOTTEN_AFTER_SECONDS)


async def stay_present(redis: RecordsRedis, worker: Worker) -> None:
    """Say so again and again, whether or not Redis is there; when cancelled, take leave."""
    try:
        while True:
            try:
                await say_present(redis, worker)
            except Unavailable as error:
                telemetry.logger().warning("could not say that this worker is there", error=str(error))
            await asyncio.sleep(SAID_EVERY_SECONDS)
    finally:
        await redis.zrem(_KEY, _member(worker))


def _member(worker: Worker) -> str:
    return f"{worker.name} {','.join(sorted(worker.queues))}"


def left_alone(workers: Iterable[Worker], queues: Iterable[str]) -> list[str]:
    """The queues that nobody takes from."""
    served = frozenset[str]().union(*(worker.queues for worker in workers))
    return [queue for queue in queues if queue not in served]
