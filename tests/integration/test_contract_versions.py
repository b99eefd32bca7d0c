"""Two versions of the contract side by side, as during an upgrade: each caller with each server, over the wire."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import auricle
from auricle import AsyncClient
from auricle.v1 import decoder_pb2
from services.common import tensors
from services.common.errors import Unavailable, from_rpc_error
from services.common.server import GrpcServer
from services.decoder.build import build as build_decoder
from services.gateway.build import build as build_gateway
from services.gateway.settings import GatewaySettings
from services.pipeline.decoder_client import DecoderClient
from tests.checkpoints import make_official_checkpoint
from tests.contracts import CHOICE, METHOD, VALUE, Contract, enriched, later, released
from tests.decoder_client import decoder_settings
from tests.job_platform import JobPlatform
from tests.platform_fakes import FINGERPRINT, HIDDEN_SIZE, MEL_BINS, FakeEncoder, recording, running_platform
from tests.preprocess_server import RunningPreprocess, running_preprocess
from tests.sounds import wav

pytestmark = pytest.mark.integration

both = pytest.mark.parametrize("contract", [released(), later()], ids=["released", "later"])
Behaviors = Mapping[str, Callable[..., Any]]


def spoken(contract: Contract, *, is_later: bool) -> Any:
    """A question about a recording."""
    source = contract.AudioSource(data=recording("bell"))
    parts = [contract.ContentPart(audio=source), contract.ContentPart(text="What is it?")]
    config = contract.GenerationConfig(max_output_tokens=8)
    request = contract.ChatRequest(messages=[contract.Message(role=2, content=parts)], config=config)
    return enriched(request) if is_later else request


@both
async def test_the_gateway_serves_callers_of_other_versions(contract: Contract) -> None:
    is_later = contract is later()
    async with running_platform() as platform:

        def call(method: str) -> Any:
            return contract.call(platform.channel, "AssistantService", method)

        answer = await call("Chat")(spoken(contract, is_later=is_later), timeout=20)
        assert answer.text.endswith("What is it? ")
        assert answer.usage.audio_tokens == 25
        chat = spoken(contract, is_later=is_later)
        pieces = [piece async for piece in call("StreamChat")(contract.StreamChatRequest(chat=chat), timeout=20)]
        assert pieces[-1].summary.text == answer.text
        config = contract.UploadAudioRequest(config=contract.UploadAudioConfig())
        chunk = contract.UploadAudioRequest(chunk=recording("bell"))
        stored = await call("UploadAudio")(iter([config, chunk]), timeout=20)
        named = contract.AudioSource(name=stored.audio.name)
        again = contract.ChatRequest(
            messages=[contract.Message(role=2, content=[contract.ContentPart(audio=named)])],
        )
        assert (await call("Chat")(again, timeout=20)).usage.audio_tokens == 25
        await call("DeleteAudio")(contract.DeleteAudioRequest(name=stored.audio.name), timeout=20)
        assert (await call("GetModel")(contract.GetModelRequest(), timeout=20)).ready


async def test_what_the_gateway_cannot_know_is_refused_by_name_and_never_taken_for_something_else() -> None:
    contract = later()
    async with running_platform() as platform:
        chat = contract.call(platform.channel, "AssistantService", "Chat")
        unknown_role = contract.ChatRequest(
            messages=[contract.Message(role=VALUE, content=[contract.ContentPart(text="x")])]
        )
        unknown_part = contract.ChatRequest(
            messages=[contract.Message(role=2, content=[contract.ContentPart(**{CHOICE: "x"})])]
        )
        for request, field in ((unknown_role, "messages[0].role"), (unknown_part, "messages[0].content[0]")):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await chat(request, timeout=20)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            violation, *_ = from_rpc_error(refused.value, "gateway").violations
            assert violation.field == field
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await contract.call(platform.channel, "AssistantService", METHOD)(contract.ChatRequest(), timeout=20)
        assert missing.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert not platform.decoder.requests


async def test_jobs_are_taken_from_later_callers_and_unknown_values_refused(job_platform: JobPlatform) -> None:
    contract = later()
    address = f"127.0.0.1:{job_platform.config.ports.gateway}"
    metadata = (("authorization", f"Bearer {next(iter(job_platform.keys.values()))}"),)
    async with grpc.aio.insecure_channel(address) as channel:

        def call(method: str, request: Any) -> Any:
            return contract.call(channel, "AnalysisJobService", method)(request, timeout=20, metadata=metadata)

        def asked(**job: Any) -> Any:
            task = contract.AnalysisTask(transcribe=contract.TranscribeTask())
            made = contract.AnalysisJob(audio=contract.JobAudio(name="audios/none"), task=task, **job)
            return contract.CreateAnalysisJobRequest(analysis_job=enriched(made), validate_only=True)

        listed = await call("ListAnalysisJobs", enriched(contract.ListAnalysisJobsRequest()))
        assert listed is not None
        for request, reason in (
            (asked(), grpc.StatusCode.NOT_FOUND),
            (asked(priority=VALUE), grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call("CreateAnalysisJob", request)
            assert refused.value.code() is reason


@asynccontextmanager
async def served(*handlers: grpc.GenericRpcHandler) -> AsyncIterator[str]:
    """A server of these handlers; its address."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def preprocess_of(contract: Contract) -> Behaviors:
    """One window of a second; a later version says something that nobody knows before it, and beside all."""

    async def preprocess(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for _ in requests:
            pass
        window = contract.PreprocessedWindow(
            window=contract.AudioWindow(duration_seconds=1.0, content_sha256=b"\1" * 32, speech_ratio=1.0),
            log_mel=contract.LogMel(
                features=contract.Tensor.FromString(
                    tensors.to_proto(np.ones((MEL_BINS, 100), np.float32)).SerializeToString()
                ),
                num_frames=100,
                num_tokens=25,
            ),
        )
        summary = contract.PreprocessSummary(heard_seconds=1.0, received_seconds=1.0)
        if contract is later():
            yield contract.PreprocessResponse(**{CHOICE: "a window comes"})
            enriched(window)
            enriched(summary)
        yield contract.PreprocessResponse(window=window)
        yield contract.PreprocessResponse(summary=summary)

    return {"Preprocess": preprocess}


def decoder_of(contract: Contract) -> Behaviors:
    """Two words; a later version ends for a reason that nobody knows."""

    async def describe(request: Any, context: Any) -> Any:
        told = contract.DescribeDecoderResponse(
            model="other", fingerprint=FINGERPRINT, hidden_size=HIDDEN_SIZE, context_tokens=512, mel_bins=MEL_BINS
        )
        return enriched(told) if contract is later() else told

    async def generate(request: Any, context: Any) -> AsyncIterator[Any]:
        completion = contract.Completion(finish_reason=1, prompt_tokens=30, output_tokens=2)
        if contract is later():
            completion.finish_reason = VALUE
            yield enriched(contract.GenerateResponse())
        yield contract.GenerateResponse(text_delta="two words")
        yield contract.GenerateResponse(completion=completion)

    return {"DescribeDecoder": describe, "Generate": generate}


@both
async def test_the_gateway_calls_services_of_other_versions(contract: Contract) -> None:
    handlers = [
        contract.handler("PreprocessService", preprocess_of(contract)),
        contract.handler("DecoderService", decoder_of(contract)),
    ]
    async with served(*handlers) as address:
        settings = GatewaySettings(
            port=0, metrics_port=0, store_url="memory://", preprocess_address=address, decoder_address=address
        )
        async with GrpcServer(build_gateway(settings, encoder=FakeEncoder()), settings) as gateway:
            async with AsyncClient(f"127.0.0.1:{gateway.port}") as client:
                answer = await client.chat([{"type": "audio", "audio": recording("bell")}])
    assert (str(answer), answer.model, answer.usage.audio_tokens) == ("two words", "other", 25)
    assert answer.finish_reason == ("stop" if contract is released() else str(VALUE))


async def test_a_call_that_an_older_service_does_not_know_may_be_tried_again() -> None:
    behaviors = decoder_of(released())
    handler = released().handler("DecoderService", {"DescribeDecoder": behaviors["DescribeDecoder"]})
    async with served(handler) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(Unavailable, match="older than its caller") as raised:
            async for _ in DecoderClient(channel).generate(decoder_pb2.GenerateRequest()):
                pass
    assert (raised.value.reason, raised.value.retry_after_seconds) == ("SERVICE_TOO_OLD", 1.0)


async def test_the_sdk_tells_an_older_gateway_from_a_broken_one() -> None:
    contract = released()

    async def chat(request: Any, context: Any) -> Any:
        return contract.ChatResponse(text="old but well", finish_reason=1, model="old")

    async with served(contract.handler("AssistantService", {"Chat": chat})) as address:
        async with AsyncClient(address) as client:
            answer = await client.chat("Are you well?", temperature=0.5)
            assert (str(answer), answer.usage.cached_prompt_tokens) == ("old but well", 0)
            with pytest.raises(auricle.UnimplementedError, match="older than this SDK"):
                await client.jobs.get("analysisJobs/1")


async def test_the_sdk_reads_the_answers_of_a_later_gateway() -> None:
    contract = later()

    async def get_model(request: Any, context: Any) -> Any:
        return enriched(
            contract.GetModelResponse(model="next", ready=True, services=[contract.ServiceStatus(service="x")])
        )

    async def get_job(request: Any, context: Any) -> Any:
        job = contract.AnalysisJob(name="analysisJobs/1", state=VALUE, priority=VALUE)
        return enriched(contract.GetAnalysisJobResponse(analysis_job=job))

    handlers = [
        contract.handler("AssistantService", {"GetModel": get_model}),
        contract.handler("AnalysisJobService", {"GetAnalysisJob": get_job}),
    ]
    async with served(*handlers) as address, AsyncClient(address) as client:
        model = await client.model()
        assert (model.model, model.services[0].service) == ("next", "x")
        job = await client.jobs.get("analysisJobs/1")
        assert (job.state, job.ended) == (str(VALUE), False)


@pytest.fixture(scope="module")
def preprocess() -> Iterator[RunningPreprocess]:
    with running_preprocess(max_concurrent=1) as running:
        yield running


@both
async def test_preprocess_serves_callers_of_other_versions(contract: Contract, preprocess: RunningPreprocess) -> None:
    config = contract.PreprocessConfig(mel_bins=80)
    if contract is later():
        enriched(config)
    data = wav(np.zeros(16000, np.float32))
    requests = [contract.PreprocessRequest(config=config), contract.PreprocessRequest(chunk=data)]
    async with grpc.aio.insecure_channel(preprocess.address) as channel:
        call = contract.call(channel, "PreprocessService", "Preprocess")
        answers = [answer async for answer in call(iter(requests), timeout=60)]
        assert [answer.WhichOneof("response") for answer in answers] == ["window", "summary"]
        assert answers[-1].summary.heard_seconds == pytest.approx(1.0, abs=0.01)
        if contract is later():
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                [_ async for _ in call(iter([requests[0], contract.PreprocessRequest(**{CHOICE: "x"})]), timeout=60)]
            assert from_rpc_error(refused.value, "preprocess").reason == "CHUNK_MISSING"


async def test_the_decoder_serves_callers_of_other_versions(tmp_path: Path) -> None:
    settings = decoder_settings(make_official_checkpoint(tmp_path / "checkpoint"))
    service = await asyncio.to_thread(build_decoder, settings)
    async with GrpcServer(service, settings) as server:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            texts = set()
            for contract in (released(), later()):
                call = contract.call(channel, "DecoderService", "Generate")
                message = contract.DecoderMessage(role=2, parts=[contract.DecoderPart(text="Hello")])
                request = contract.GenerateRequest(
                    messages=[message], config=contract.GenerationConfig(max_output_tokens=4)
                )
                if contract is later():
                    enriched(request)
                answers = [answer async for answer in call(request, timeout=60)]
                assert answers[-1].completion.output_tokens >= 1
                texts.add("".join(answer.text_delta for answer in answers))
            assert len(texts) == 1
            request.priority = VALUE
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                [_ async for _ in call(request, timeout=60)]
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
