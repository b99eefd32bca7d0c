"""What the steps of a job work with; made once in a worker."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.common.channels import connect
from services.common.outbound import Outbound
from services.jobs.settings import WorkerSettings
from services.jobs.webhooks import Webhooks, webhooks
from services.jobstore.blobs import JobBlobs
from services.jobstore.client import records_client
from services.jobstore.record import JobStore
from services.jobstore.units import UnitStore
from services.jobstore.uri_sources import UriSources, uri_sources
from services.pipeline.decoder_client import DecoderClient
from services.pipeline.embedding_cache import EmbeddingCache
from services.pipeline.encoder_client import EncoderClient
from services.pipeline.hearing import Listener
from services.pipeline.model_watch import ModelWatch
from services.pipeline.preprocess_client import PreprocessClient


@dataclass(frozen=True)
class Parts:
    """Record, store and services."""

    settings: WorkerSettings
    store: JobStore
    units: UnitStore
    blobs: JobBlobs
    uris: UriSources
    webhooks: Webhooks
    preprocess: PreprocessClient
    listener: Listener
    decoder: DecoderClient
    models: ModelWatch


def build(settings: WorkerSettings) -> tuple[Parts, Callable[[], Awaitable[None]]]:
    """The parts, and what closes them. Call it inside the worker's event loop."""

    redis = records_client(settings.redis_url)
    encoder = EncoderClient(settings.encoder_address, tls_ca=settings.services_ca)
    channels = [
        connect(address, max_message_bytes=settings.max_message_bytes, tls_ca=settings.services_ca)
        for address in (settings.preprocess_address, settings.decoder_address)
    ]
    preprocess, decoder = PreprocessClient(channels[0]), DecoderClient(channels[1])
    cache = EmbeddingCache(settings.redis_url)
    models = ModelWatch(encoder, decoder)
    parts = Parts(
        settings,
        JobStore(redis),
        UnitStore(redis, lost_after_seconds=settings.lost_after_seconds),
        JobBlobs(settings.store_url),
        uri_sources(settings, Outbound(settings.outbound_rules, tls=settings.outbound_tls())),
        webhooks(settings, redis),
        preprocess,
        Listener(preprocess, encoder, cache),
        decoder,
        models,
    )

    async def close() -> None:
        await parts.webhooks.close()
        await models.close()
        await cache.close()
        await encoder.close()
        for channel in channels:
            await channel.close()
        await redis.aclose()

    return parts, close
