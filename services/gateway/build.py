"""The gateway's composition root."""

import asyncio
from typing import Any, Protocol

import grpc
from redis.asyncio import Redis

from auricle.v1 import assistant_pb2, assistant_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from services.common.auth import ApiKeyInterceptor, KeyFile
from services.common.server import Service
from services.gateway.audio_store import AudioStore, StoreLimits
from services.gateway.chats import Chats
from services.gateway.jobs import Jobs
from services.gateway.jobs_servicer import AnalysisJobServicer
from services.gateway.servicer import AssistantServicer
from services.gateway.settings import GatewaySettings
from services.gateway.status import Check, StatusBoard, encoder_check, replicas_check
from services.gateway.validation import ChatLimits
from services.jobstore.blobs import JobBlobs
from services.jobstore.dispatch import Dispatcher, celery_app
from services.jobstore.model import QueueLimits
from services.jobstore.record import JobStore
from services.pipeline import hearing, model_watch
from services.pipeline.embedding_cache import CacheLimits, EmbeddingCache
from services.pipeline.fleets import (
    DecoderFleet,
    EncoderFleet,
    PreprocessFleet,
    decoder_fleet,
    encoder_fleet,
    preprocess_fleet,
)
from services.pipeline.hearing import HearingLimits, Listener
from services.pipeline.model_watch import ModelWatch
from services.pipeline.pipeline import Pipeline
from services.pipeline.replicas import Replicas

FULL_NAME = assistant_pb2.DESCRIPTOR.services_by_name["AssistantService"].full_name
JOBS_FULL_NAME = jobs_pb2.DESCRIPTOR.services_by_name["AnalysisJobService"].full_name


class Encoder(hearing.Encoder, model_watch.DescribesEncoder, Protocol):
    """What the gateway needs of EncoderFleet."""


def build(settings: GatewaySettings, *, encoder: Encoder | None = None) -> Service:
    """The gateway as a Service. Call it inside a running event loop; tests bring their own encoder."""
    preprocess, encoders, decoder = _fleets(settings)
    encoder = encoder or encoders
    cache = _cache(settings)
    models = ModelWatch(encoder, decoder, interval_seconds=settings.model_check_seconds)
    listener = Listener(preprocess, encoder, cache, _hearing_limits(settings))
    store = AudioStore(settings.store_url, _store_limits(settings))
    limits = ChatLimits(settings.max_audio_parts, settings.max_inline_bytes)
    checks: dict[str, Check] = {
        "preprocess": replicas_check(preprocess.replicas),
        "encoder": encoder_check(encoder),
        "decoder": replicas_check(decoder.replicas),
    }
    if cache:
        checks["cache"] = cache.check
    servicer = AssistantServicer(
        Chats(Pipeline(listener, decoder, models), store, limits, settings.max_concurrent_chats),
        store,
        StatusBoard(models, checks),
        limits,
        settings.max_concurrent_uploads,
    )
    records = _records(settings)
    jobs_servicer = AnalysisJobServicer(_jobs(settings, records, store) if records else None)
    sweeper: list[asyncio.Task[None]] = []

    def register(server: grpc.aio.Server) -> None:
        assistant_pb2_grpc.add_AssistantServiceServicer_to_server(servicer, server)
        jobs_pb2_grpc.add_AnalysisJobServiceServicer_to_server(jobs_servicer, server)

    fleets: list[Replicas[Any]] = [preprocess.replicas, encoders.replicas, decoder.replicas]

    async def start() -> None:
        for replicas in fleets:
            # Who joins is asked what it serves before the next request.
            replicas.on_join = models.forget
            replicas.start()
        models.start()
        sweeper.append(asyncio.create_task(store.sweep_regularly(settings.upload_sweep_seconds)))

    async def close() -> None:
        for task in sweeper:
            task.cancel()
        await models.close()
        if cache:
            await cache.close()
        if records:
            await records.aclose()
        for replicas in fleets:
            await replicas.close()

    return Service(
        name="gateway",
        full_names=[FULL_NAME, JOBS_FULL_NAME],
        register=register,
        start=start,
        close=close,
        interceptors=[ApiKeyInterceptor(KeyFile(settings.api_keys_file))] if settings.api_keys_file else [],
    )


def _fleets(settings: GatewaySettings) -> tuple[PreprocessFleet, EncoderFleet, DecoderFleet]:
    limit, ca = settings.max_message_bytes, settings.services_ca
    return (
        preprocess_fleet(settings.preprocess_address, max_message_bytes=limit, tls_ca=ca),
        encoder_fleet(settings.encoder_address, tls_ca=ca),
        decoder_fleet(settings.decoder_address, max_message_bytes=limit, tls_ca=ca),
    )


def _cache(settings: GatewaySettings) -> EmbeddingCache | None:
    if settings.redis_url is None:
        return None
    limits = CacheLimits(
        max_bytes=settings.cache_max_bytes,
        ttl_seconds=settings.cache_ttl_seconds,
        lookup_timeout_seconds=settings.cache_lookup_timeout_seconds,
    )
    return EmbeddingCache(settings.redis_url, limits)


def _records(settings: GatewaySettings) -> Redis | None:
    """A client for the records of jobs; apart from the cache's, which gives up after a tenth of a second."""
    if settings.redis_url is None:
        return None
    return Redis.from_url(settings.redis_url, socket_timeout=10.0, socket_connect_timeout=2.0)


def _jobs(settings: GatewaySettings, records: Redis, uploads: AudioStore) -> Jobs:
    assert settings.redis_url is not None
    limits = QueueLimits(settings.jobs_tenant_hours, settings.jobs_total_hours)
    dispatcher = Dispatcher(celery_app(settings.redis_url))
    return Jobs(JobStore(records), JobBlobs(settings.store_url), uploads, dispatcher, limits)


def _hearing_limits(settings: GatewaySettings) -> HearingLimits:
    # All embeddings of a request travel in one message, beside its texts.
    return HearingLimits(
        parts=settings.part_concurrency,
        windows=settings.encode_concurrency,
        embedding_bytes=settings.max_message_bytes * 3 // 4,
    )


def _store_limits(settings: GatewaySettings) -> StoreLimits:
    return StoreLimits(settings.upload_max_bytes, settings.upload_quota_bytes, settings.upload_ttl_seconds)
