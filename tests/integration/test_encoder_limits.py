"""What the encoder does when it is asked too much, in too little time, or dies."""

import asyncio
import os
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from services.common.errors import AuricleError, DeadlineExceeded, ResourceExhausted, Unavailable
from services.encoder.parity import synthetic_clip
from services.encoder.publish import Published, publish
from services.encoder.settings import EncoderSettings
from services.local.triton import SHARED_MEMORY, TritonServer
from services.pipeline.encoder_client import EncodedAudio, EncoderClient
from services.qwen2_audio.mel import log_mel
from tests.checkpoints import make_official_checkpoint
from tests.triton import Gate, free_ports, running_triton, settled_counters, stub_process, until_waiting

pytestmark = pytest.mark.integration

QUEUE_SIZE = 3
QUEUE_TIMEOUT_SECONDS = 3.0
SERVED_VERSION = 1
MEL = log_mel(synthetic_clip(1.0), 80)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> list[Published]:
    """Two versions in one repository, of which the older one is served."""
    directory = tmp_path_factory.mktemp("limits")
    repository = directory / "repository"
    settings = EncoderSettings(
        max_queue_size=QUEUE_SIZE,
        queue_timeout_seconds=QUEUE_TIMEOUT_SECONDS,
        max_batch_size=1,
        threads=1,
        served_versions=(SERVED_VERSION,),
    )
    return [
        publish(
            make_official_checkpoint(directory / f"seed-{seed}", mel_bins=80, seed=seed), repository, settings=settings
        )
        for seed in range(2)
    ]


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP and keeps what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.bodies: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1/traces"


class _Post(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])).decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        yield collector
        collector.shutdown()


@pytest.fixture(scope="module")
def gate(published: list[Published]) -> Gate:
    return Gate(published[0].directory)


@pytest.fixture(scope="module")
def server(
    published: list[Published], gate: Gate, collector: "Collector", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    repository = published[0].directory.parents[1]
    with running_triton(repository, tmp_path_factory.mktemp("triton"), traces_url=collector.url) as server:
        yield server


@pytest.fixture
async def client(server: TritonServer) -> AsyncIterator[EncoderClient]:
    client = EncoderClient(server.grpc_address)
    yield client
    await client.close()


async def encode(client: EncoderClient, timeout_seconds: float = 30.0) -> EncodedAudio:
    return await client.encode(MEL.features, MEL.num_frames, timeout_seconds=timeout_seconds)


async def test_the_version_named_in_the_settings_answers_not_the_latest(
    published: list[Published], client: EncoderClient
) -> None:
    info = await client.describe()
    assert info.version == SERVED_VERSION < published[1].version
    assert info.fingerprint == published[0].fingerprint != published[1].fingerprint
    assert (await encode(client)).version == SERVED_VERSION


async def test_a_full_queue_refuses_at_once_and_says_when_to_try_again(
    server: TritonServer, gate: Gate, client: EncoderClient
) -> None:
    with gate.shut():
        accepted = [asyncio.create_task(encode(client))]
        await gate.until_occupied()
        accepted += [asyncio.create_task(encode(client)) for _ in range(QUEUE_SIZE)]
        await until_waiting(server, QUEUE_SIZE)
        started = time.monotonic()
        with pytest.raises(ResourceExhausted) as refused:
            await encode(client)
        assert time.monotonic() - started < 0.5
    assert refused.value.reason == "ENCODER_QUEUE_FULL"
    assert refused.value.retry_after_seconds
    assert all(isinstance(answer, EncodedAudio) for answer in await asyncio.gather(*accepted))


async def test_a_clip_that_waits_too_long_is_dropped_from_the_queue(
    server: TritonServer, gate: Gate, client: EncoderClient
) -> None:
    before = settled_counters(server)
    with gate.shut():
        running = asyncio.create_task(encode(client))
        await gate.until_occupied()
        waiting = asyncio.create_task(encode(client))
        await until_waiting(server, 1)
        await asyncio.sleep(QUEUE_TIMEOUT_SECONDS + 0.2)
    with pytest.raises(DeadlineExceeded, match="queue"):
        await waiting
    assert isinstance(await running, EncodedAudio)
    # The dropped clip was never computed.
    assert settled_counters(server)["nv_inference_exec_count"] - before["nv_inference_exec_count"] == 1


async def test_the_callers_deadline_ends_the_call(server: TritonServer, gate: Gate, client: EncoderClient) -> None:
    with gate.shut():
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await encode(client, timeout_seconds=0.2)
        assert time.monotonic() - started < 1.0
    assert isinstance(await encode(client), EncodedAudio)


async def test_a_call_that_is_given_up_leaves_the_queue(
    server: TritonServer, gate: Gate, client: EncoderClient
) -> None:
    before = settled_counters(server)
    with gate.shut():
        running = asyncio.create_task(encode(client))
        await gate.until_occupied()
        given_up = asyncio.create_task(encode(client))
        await until_waiting(server, 1)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        await asyncio.sleep(0.1)
    await running
    await encode(client)
    assert settled_counters(server)["nv_inference_exec_count"] - before["nv_inference_exec_count"] == 2


async def test_tritons_spans_belong_to_the_callers_trace(client: EncoderClient, collector: Collector) -> None:
    trace_id = uuid.uuid4().hex
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    # Triton sends its spans every 5 s, and drops a batch that it could not send: then a later call's spans are to come.
    async with asyncio.timeout(40):
        while not any(trace_id in body for body in collector.bodies):
            await client.encode(MEL.features, MEL.num_frames, timeout_seconds=30, headers=headers)
            await asyncio.sleep(1)


async def test_nobody_at_the_address_is_unavailable_not_an_internal_error() -> None:
    client = EncoderClient(f"127.0.0.1:{free_ports(1)[0]}")
    for call in (encode(client, 5.0), client.describe()):
        with pytest.raises(Unavailable) as unavailable:
            await call
        assert unavailable.value.retry_after_seconds
    await client.close()


async def test_when_the_models_process_is_killed_the_server_ends_and_leaves_no_shared_memory(
    published: list[Published], tmp_path: Path
) -> None:
    with running_triton(published[0].directory.parents[1], tmp_path) as server:
        process = psutil.Process(server.pid)
        stub_process(server).kill()
        started = time.monotonic()
        await asyncio.to_thread(process.wait, 10)
        assert time.monotonic() - started < 5
        client = EncoderClient(server.grpc_address)
        with pytest.raises(AuricleError):
            await encode(client, 5.0)
        await client.close()
        await asyncio.sleep(0.2)
        assert not [name for name in os.listdir(SHARED_MEMORY) if f"-{server.grpc_port}-" in name]
