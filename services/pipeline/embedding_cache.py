"""Embeddings by content in Redis, so that what was encoded once is not encoded again.

A convenience, never a duty: a Redis that is down, slow or full of nonsense costs at most `lookup_timeout_seconds`,
after a few failures nothing at all for a while, and never an answer. Redis itself may be told never to evict (a job
queue shares it), so the cache bounds itself, see `bounded_store`.
"""

import asyncio
import contextvars
from collections import deque
from dataclasses import dataclass

import numpy as np
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from services.common import telemetry
from services.common.errors import Unavailable
from services.pipeline import embedding_format, metrics
from services.pipeline.bounded_store import BoundedStore
from services.pipeline.breaker import CircuitBreaker


@dataclass(frozen=True)
class CacheLimits:
    """Bounds of the cache.

    Attributes:
        max_bytes: bytes of all values together in Redis.
        ttl_seconds: life of a value after its last use.
        lookup_timeout_seconds: longest wait of a request for the cache.
        write_timeout_seconds: longest wait of the background writer.
        write_delay_seconds: how long the writer lets the request that brought the embeddings go first.
        max_pending_bytes: embeddings that wait to be written; further ones are not stored.
        connections: connections to Redis.
        failures_before_pause: failures in a row after which the cache is left alone.
        pause_seconds: how long it is left alone.
    """

    max_bytes: int = 512 * 2**20
    ttl_seconds: float = 24 * 3600.0
    lookup_timeout_seconds: float = 0.1
    write_timeout_seconds: float = 2.0
    write_delay_seconds: float = 0.05
    max_pending_bytes: int = 64 * 2**20
    connections: int = 16
    failures_before_pause: int = 3
    pause_seconds: float = 5.0


# A touch (the note that a value was used) weighs this much among the pending writes.
_TOUCH_BYTES = 256


class EmbeddingCache:
    """Cache of embeddings, keyed by the model's fingerprint and the SHA-256 of a window's samples."""

    def __init__(self, url: str, limits: CacheLimits | None = None) -> None:
        self.limits = limits or CacheLimits()
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=self.limits.connections,
            timeout=self.limits.write_timeout_seconds,
            socket_timeout=self.limits.write_timeout_seconds,
            socket_connect_timeout=self.limits.write_timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)
        self._store = BoundedStore(self._redis, self.limits.max_bytes, self.limits.ttl_seconds)
        self._breaker = CircuitBreaker(self.limits.failures_before_pause, self.limits.pause_seconds)
        self._pending: deque[tuple[str, np.ndarray | None]] = deque()
        self._pending_bytes = 0
        self._writer: asyncio.Task[None] | None = None
        # The writer works for many requests, so it carries the context of none of them.
        self._context = contextvars.copy_context()

    async def get(self, fingerprint: str, content_sha256: bytes, shape: tuple[int, int]) -> np.ndarray | None:
        """The cached embeddings of the shape (tokens, hidden), read-only, or None; never raises for Redis' sake.

        The windows of a request arrive one by one, so each is looked up by itself, side by side with the others.
        """
        if not self._breaker.allows():
            metrics.CACHE_LOOKUPS.labels("skipped").inc()
            return None
        key = _key(fingerprint, content_sha256)
        try:
            async with asyncio.timeout(self.limits.lookup_timeout_seconds):
                value = await self._store.get(key)
        except (RedisError, OSError, TimeoutError) as error:
            self._note_failure(error)
            metrics.CACHE_LOOKUPS.labels("error").inc()
            return None
        self._breaker.succeeded()
        embeddings = None if value is None else embedding_format.unpack(value, shape)
        result = "hit" if embeddings is not None else "miss" if value is None else "corrupt"
        metrics.CACHE_LOOKUPS.labels(result).inc()
        if embeddings is not None:
            self._enqueue(key, None)
        return embeddings

    def put_soon(self, fingerprint: str, content_sha256: bytes, embeddings: np.ndarray) -> None:
        """Store the embeddings in the background. The array is kept until then and must not be changed."""
        self._enqueue(_key(fingerprint, content_sha256), embeddings)

    async def check(self) -> str:
        """Ask Redis for a sign of life; raises Unavailable when there is none."""
        try:
            async with asyncio.timeout(self.limits.write_timeout_seconds):
                await self._redis.ping()
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable("the cache cannot be reached", metadata={"service": "cache"}) from error
        return "answers"

    async def flush(self) -> None:
        """Wait until everything pending was tried."""
        if self._writer:
            await asyncio.shield(self._writer)

    async def close(self) -> None:
        """Drop what is pending and close the connections."""
        if self._writer:
            self._writer.cancel()
            await asyncio.wait([self._writer])
        await self._redis.aclose()

    def _enqueue(self, key: str, embeddings: np.ndarray | None) -> None:
        weight = _weight(embeddings)
        if self._pending_bytes + weight > self.limits.max_pending_bytes:
            metrics.CACHE_WRITES.labels("dropped").inc()
            return
        self._pending.append((key, embeddings))
        self._pending_bytes += weight
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write_pending(), context=self._context)

    async def _write_pending(self) -> None:
        await asyncio.sleep(self.limits.write_delay_seconds)
        while self._pending:
            key, embeddings = self._pending.popleft()
            try:
                result = await self._write(key, embeddings)
            except (RedisError, OSError, TimeoutError) as error:
                self._note_failure(error)
                result = "error"
            finally:
                self._pending_bytes -= _weight(embeddings)
            metrics.CACHE_WRITES.labels(result).inc()

    async def _write(self, key: str, embeddings: np.ndarray | None) -> str:
        if embeddings is not None and embedding_format.packed_bytes(embeddings) > self.limits.max_bytes:
            return "too_large"
        if not self._breaker.allows():
            return "skipped"
        async with asyncio.timeout(self.limits.write_timeout_seconds):
            if embeddings is None:
                await self._store.touch(key)
            else:
                metrics.CACHE_BYTES.set(await self._store.put(key, embedding_format.pack(embeddings)))
        self._breaker.succeeded()
        return "touched" if embeddings is None else "stored"

    def _note_failure(self, error: Exception) -> None:
        self._breaker.failed()
        telemetry.logger().warning("embedding cache", error=f"{type(error).__name__}: {error}")


def _key(fingerprint: str, content_sha256: bytes) -> str:
    return f"{fingerprint}:{content_sha256.hex()}"


def _weight(embeddings: np.ndarray | None) -> int:
    return _TOUCH_BYTES if embeddings is None else embedding_format.packed_bytes(embeddings)
