"""What the steps of a job work with; made once in a worker."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.common.outbound import Outbound
from services.jobs.settings import WorkerSettings
from services.jobs.webhooks import Webhooks, webhooks
from services.jobstore.blobs import JobBlobs
from services.jobstore.client import RecordsRedis, records_client
from services.jobstore.record import JobStore
from services.jobstore.units import UnitStore
from services.jobstore.uri_sources import UriSources, uri_sources
from services.pipeline.embedding_cache import EmbeddingCache
from services.pipeline.fleets import DecoderFleet, fleets_of
from services.pipeline.hearing import Listener, Preprocess
from services.pipeline.model_watch import ModelWatch


@dataclass(frozen=True)
class Parts:
    """Record, store and services."""

    settings: WorkerSettings
    records: RecordsRedis
    store: JobStore
    units: UnitStore
    blobs: JobBlobs
    uris: UriSources
    webhooks: Webhooks
    preprocess: Preprocess
    listener: Listener
    decoder: DecoderFleet
    models: ModelWatch


def build(settings: WorkerSettings) -> tuple[Parts, Callable[[], Awaitable[None]]]:
    """The parts, and what closes them. Call it inside the worker's event loop."""
    redis = records_client(settings.redis_url)
    fleets = fleets_of(settings, settings.max_message_bytes)
    cache = EmbeddingCache(settings.redis_url, settings.cache_limits)
    models = ModelWatch(fleets.encoder, fleets.decoder)
    fleets.start(on_join=models.forget)
    parts = Parts(
        settings,
        redis,
        JobStore(redis),
        UnitStore(redis, lost_after_seconds=settings.lost_after_seconds),
        JobBlobs(settings.store_url),
        uri_sources(settings, Outbound(settings.outbound_rules, tls=settings.outbound_tls())),
        webhooks(settings, redis),
        fleets.preprocess,
        Listener(fleets.preprocess, fleets.encoder, cache),
        fleets.decoder,
        models,
    )

    async def close() -> None:
        await parts.webhooks.close()
        await models.close()
        await cache.close()
        await fleets.close()
        await redis.aclose()

    return parts, close
