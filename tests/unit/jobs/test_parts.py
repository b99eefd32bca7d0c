"""What a worker's parts take from its settings."""

import pytest

from services.jobs.parts import build
from services.jobs.settings import WorkerSettings

pytestmark = pytest.mark.unit


async def test_the_workers_embedding_cache_is_bounded_as_its_settings_say() -> None:
    settings = WorkerSettings(
        redis_url="redis://127.0.0.1:1/0", store_url="memory://", cache_max_bytes=3 * 2**20, cache_ttl_seconds=60
    )
    parts, close = build(settings)
    try:
        assert parts.listener.cache is not None
        assert (parts.listener.cache.limits.max_bytes, parts.listener.cache.limits.ttl_seconds) == (3 * 2**20, 60)
    finally:
        await close()
