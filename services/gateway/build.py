"""The gateway's composition root."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import grpc

from auricle.v1 import assistant_pb2, assistant_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from services.common.auth import ApiKeyInterceptor, KeyFile
from services.common.outbound import Outbound
from services.common.server import Service
from services.gateway.audio_store import AudioStore, StoreLimits
from services.gateway.chats import Chats
from services.gateway.job_questions import JobQuestions
from services.gateway.job_sources import JobSources
from services.gateway.jobs import Jobs
from services.gateway.jobs_servicer import AnalysisJobServicer
from services.gateway.resumable import ResumableUploads
from services.gateway.servicer import AssistantServicer
from services.gateway.settings import GatewaySettings
from services.gateway.status import Check, StatusBoard, encoder_check, replicas_check, workers_check
from services.gateway.sweeper import regularly
from services.gateway.tracks import CANARY, STABLE, Track, Tracks
from services.gateway.validation import ChatLimits
from services.gateway.webhook_checks import WebhookChecks
from services.jobstore.blobs import JobBlobs
from services.jobstore.client import RecordsRedis, records_client
from services.jobstore.dispatch import Dispatcher, celery_app
from services.jobstore.model import QueueLimits
from services.jobstore.record import JobStore
from services.jobstore.uri_sources import uri_sources
from services.pipeline import hearing, model_watch
from services.pipeline.embedding_cache import EmbeddingCache
from services.pipeline.fleets import DecoderFleet, Halves, PreprocessFleet, fleets_of, halves_of
from services.pipeline.hearing import HearingLimits, Listener
from services.pipeline.model_watch import ModelWatch
from services.pipeline.pipeline import Pipeline

FULL_NAME = assistant_pb2.DESCRIPTOR.services_by_name["AssistantService"].full_name
JOBS_FULL_NAME = jobs_pb2.DESCRIPTOR.services_by_name["AnalysisJobService"].full_name


class Encoder(hearing.Encoder, model_watch.DescribesEncoder, Protocol):
    """What the gateway needs of EncoderFleet."""


def build(
    settings: GatewaySettings, *, encoder: Encoder | None = None, canary_encoder: Encoder | None = None
) -> Service:
    """The gateway as a Service. Call it inside a running event loop; tests bring their own encoders."""
    fleets = fleets_of(settings, settings.max_message_bytes)
    encoder, decoder = encoder or fleets.encoder, fleets.decoder
    cache = _cache(settings)
    store = AudioStore(settings.store_url, _store_limits(settings))
    resumable = ResumableUploads(store)
    limits = ChatLimits(settings.max_audio_parts, settings.max_inline_bytes)
    records = _records(settings)
    shared: dict[str, Check] = {"cache": cache.check} if cache else {}
    if records:
        shared["workers"] = workers_check(records)
    stable = _track(STABLE, settings, fleets.preprocess, encoder, decoder, cache, shared)
    models = stable.models
    halves = _canary_halves(settings)
    canary = None
    if halves:
        rolled_out = canary_encoder or halves.encoder
        canary = _track(CANARY, settings, fleets.preprocess, rolled_out, halves.decoder, cache, shared)
    tracks = Tracks(stable, canary, settings.canary_percent)
    servicer = AssistantServicer(
        Chats(tracks, store, limits, settings.max_concurrent_chats),
        store,
        resumable,
        tracks,
        limits,
        settings.max_concurrent_uploads,
    )
    jobs_servicer = _jobs_servicer(settings, records, store, decoder, models)
    sweeper: list[asyncio.Task[None]] = []

    def register(server: grpc.aio.Server) -> None:
        assistant_pb2_grpc.add_AssistantServiceServicer_to_server(servicer, server)
        jobs_pb2_grpc.add_AnalysisJobServiceServicer_to_server(jobs_servicer, server)

    async def start() -> None:
        # Who joins is asked what it serves before the next request.
        fleets.start(on_join=models.forget)
        models.start()
        if halves and canary:
            halves.start(on_join=canary.models.forget)
            canary.models.start()
        for sweep in (store.sweep, resumable.sweep):
            sweeper.append(asyncio.create_task(regularly(sweep, settings.upload_sweep_seconds)))

    async def close() -> None:
        for task in sweeper:
            task.cancel()
        await models.close()
        if halves and canary:
            await canary.models.close()
            await halves.close()
        if cache:
            await cache.close()
        if records:
            await records.aclose()
        await fleets.close()

    return Service(
        name="gateway",
        full_names=[FULL_NAME, JOBS_FULL_NAME],
        register=register,
        start=start,
        close=close,
        interceptors=[ApiKeyInterceptor(KeyFile(settings.api_keys_file))] if settings.api_keys_file else [],
    )


def _track(
    name: str,
    settings: GatewaySettings,
    preprocess: PreprocessFleet,
    encoder: Encoder,
    decoder: DecoderFleet,
    cache: EmbeddingCache | None,
    shared: Mapping[str, Check],
) -> Track:
    models = ModelWatch(encoder, decoder, interval_seconds=settings.model_check_seconds)
    listener = Listener(preprocess, encoder, cache, _hearing_limits(settings))
    checks: dict[str, Check] = {
        "preprocess": replicas_check(preprocess.replicas),
        "encoder": encoder_check(encoder),
        "decoder": replicas_check(decoder.replicas),
        **shared,
    }
    return Track(name, Pipeline(listener, decoder, models), models, StatusBoard(models, checks))


def _canary_halves(settings: GatewaySettings) -> Halves | None:
    encoder, decoder = settings.canary_encoder_address, settings.canary_decoder_address
    return halves_of(settings, encoder, decoder, settings.max_message_bytes) if encoder and decoder else None


def _cache(settings: GatewaySettings) -> EmbeddingCache | None:
    return EmbeddingCache(settings.redis_url, settings.cache_limits) if settings.redis_url else None


def _records(settings: GatewaySettings) -> RecordsRedis | None:
    """A client for the records of jobs; apart from the cache's, which gives up after a tenth of a second."""
    return records_client(settings.redis_url) if settings.redis_url else None


def _jobs_servicer(
    settings: GatewaySettings,
    records: RecordsRedis | None,
    uploads: AudioStore,
    decoder: DecoderFleet,
    models: ModelWatch,
) -> AnalysisJobServicer:
    if records is None or settings.redis_url is None:
        return AnalysisJobServicer(None, None)
    limits = QueueLimits(settings.jobs_tenant_hours, settings.jobs_total_hours)
    store, blobs = JobStore(records), JobBlobs(settings.store_url)
    outbound = Outbound(settings.outbound_rules, tls=settings.outbound_tls())
    sources = JobSources(uploads, blobs, uri_sources(settings, outbound))
    webhooks = WebhookChecks(outbound, settings.webhook_secrets)
    jobs = Jobs(store, blobs, sources, webhooks, Dispatcher(celery_app(settings.redis_url)), limits)
    questions = JobQuestions(jobs, store, blobs, decoder, models, settings.max_concurrent_questions)
    return AnalysisJobServicer(jobs, questions)


def _hearing_limits(settings: GatewaySettings) -> HearingLimits:
    # All embeddings of a request travel in one message, beside its texts.
    return HearingLimits(
        parts=settings.part_concurrency,
        windows=settings.encode_concurrency,
        embedding_bytes=settings.max_message_bytes * 3 // 4,
    )


def _store_limits(settings: GatewaySettings) -> StoreLimits:
    return StoreLimits(settings.upload_max_bytes, settings.upload_quota_bytes, settings.upload_ttl_seconds)
