"""The services behind the gateway as small fakes on real wires, and a gateway in front of them.

A recording for the fake preprocess is JSON: {"content": NAME, "windows": [SECONDS, ...]}. Each window becomes 25 audio
tokens a second, whose embeddings all hold the window's mark, so that the decoder can tell what it was given and where.
Further fields: "silent" and "spoken" list windows, "pause_seconds" pass before each window, "damaged_seconds" are told
of in a warning, and before the window "broken_at" the recording turns out to be broken.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from opentelemetry import trace

from auricle.v1 import (
    assistant_pb2,
    assistant_pb2_grpc,
    decoder_pb2,
    decoder_pb2_grpc,
    generation_pb2,
    preprocess_pb2,
    preprocess_pb2_grpc,
)
from services.common import deadlines, tensors
from services.common.errors import AuricleError, InvalidArgument
from services.common.interceptors import request_id
from services.common.server import GrpcServer, Service, channel_limits
from services.common.settings import ServerSettings
from services.gateway.build import build
from services.gateway.settings import GatewaySettings
from services.pipeline.encoder_client import EncodedAudio, EncoderInfo

FINGERPRINT = "f1" * 32
HIDDEN_SIZE = 8
MEL_BINS = 80
TOKENS_PER_SECOND = 25
CLIENT_LIMITS = channel_limits(2**27)


def recording(content: str, *windows: float, **fields: Any) -> bytes:
    """A recording of windows of the given seconds."""
    return json.dumps({"content": content, "windows": windows or (1.0,), **fields}).encode()


def mark(content: str, index: int = 0) -> int:
    """The number that every embedding of the window holds."""
    return hashlib.sha256(f"{content}/{index}".encode()).digest()[0] + 1


def trace_id() -> str:
    """The trace that the current call belongs to."""
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


@dataclass
class Seen:
    """What a fake noticed of a call."""

    remaining_seconds: float
    trace_id: str
    request_id: str
    chunk_bytes: list[int] = field(default_factory=list)

    @classmethod
    def now(cls) -> "Seen":
        return cls(deadlines.remaining_seconds(), trace_id(), request_id())


class FakePreprocess(preprocess_pb2_grpc.PreprocessServiceServicer):
    """Cuts toy recordings.

    `stall` makes it stop after the first window of a recording of that content; `delay_seconds` pass before the first.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.configs: list[preprocess_pb2.PreprocessConfig] = []
        self.stall = ""
        self.delay_seconds = 0.0
        self.stalled = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def Preprocess(self, requests: Any, context: Any) -> AsyncIterator[preprocess_pb2.PreprocessResponse]:
        try:
            seen, data = await self._receive(requests)
            self.seen.append(seen)
            toy = self._parse(data)
            await asyncio.sleep(self.delay_seconds)
            for index in range(len(toy["windows"])):
                await asyncio.sleep(toy.get("pause_seconds", 0))
                if index == toy.get("broken_at"):
                    raise InvalidArgument("no frame can be read", reason="AUDIO_MALFORMED")
                yield preprocess_pb2.PreprocessResponse(window=self._window(toy, index))
                if toy["content"] == self.stall:
                    self.stalled.set()
                    await asyncio.sleep(60)
            yield preprocess_pb2.PreprocessResponse(summary=self._summary(toy, len(data)))
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def _receive(self, requests: Any) -> tuple[Seen, bytes]:
        seen, data = Seen.now(), b""
        async for request in requests:
            if request.WhichOneof("request") == "config":
                self.configs.append(request.config)
            else:
                seen.chunk_bytes.append(len(request.chunk))
                data += request.chunk
        return seen, data

    def _parse(self, data: bytes) -> dict[str, Any]:
        try:
            return dict(json.loads(data.rstrip(b" ")))
        except ValueError:
            raise InvalidArgument(
                "no container that is known", reason="AUDIO_FORMAT_UNSUPPORTED", metadata={"first": data[:4].hex()}
            ) from None

    def _window(self, toy: dict[str, Any], index: int) -> preprocess_pb2.PreprocessedWindow:
        content, seconds = toy["content"], toy["windows"][index]
        window = preprocess_pb2.PreprocessedWindow()
        window.window.index = index
        window.window.start_seconds = sum(toy["windows"][:index])
        window.window.duration_seconds = seconds
        window.window.rms_dbfs = -90.0 if index in toy.get("silent", ()) else -20.0
        window.window.speech_ratio = 1.0 if index in toy.get("spoken", ()) else 0.0
        window.window.content_sha256 = hashlib.sha256(f"{content}/{index}/{seconds}".encode()).digest()
        features = np.full((MEL_BINS, 4), mark(content, index), np.float32)
        window.log_mel.features.CopyFrom(tensors.to_proto(features))
        window.log_mel.num_tokens = int(seconds * TOKENS_PER_SECOND)
        window.log_mel.num_frames = window.log_mel.num_tokens * 4
        return window

    def _summary(self, toy: dict[str, Any], size: int) -> preprocess_pb2.PreprocessSummary:
        summary = preprocess_pb2.PreprocessSummary(received_bytes=size, compute_ms=2.0)
        summary.heard_seconds = sum(toy["windows"])
        summary.received_seconds = summary.heard_seconds + toy.get("damaged_seconds", 0)
        if "damaged_seconds" in toy:
            summary.warnings.add(at_seconds=1.5, message="a frame is broken")
        return summary


class FakeEncoder:
    """The interface of EncoderClient. `hold` makes every encode wait until it is set."""

    def __init__(self) -> None:
        self.fingerprint = FINGERPRINT
        self.version = 1
        self.error: AuricleError | None = None
        self.hold: asyncio.Event | None = None
        self.encoded: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.timeouts: list[float] = []
        self.running = 0
        self.most_running = 0
        self.cancelled = 0

    async def encode(
        self,
        features: np.ndarray,
        num_frames: int,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> EncodedAudio:
        self.headers.append(dict(headers or {}))
        self.timeouts.append(timeout_seconds)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await (self.hold.wait() if self.hold else asyncio.sleep(0.01))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if self.error:
            raise self.error
        self.encoded.append(int(features[0, 0]))
        embeddings = np.full((num_frames // 4, HIDDEN_SIZE), features[0, 0], np.float32)
        return EncodedAudio(embeddings, compute_ms=3.0, wait_ms=1.0, version=self.version)

    async def describe(self) -> EncoderInfo:
        if self.error:
            raise self.error
        return EncoderInfo(self.fingerprint, self.version, MEL_BINS, HIDDEN_SIZE, ready=True)

    async def close(self) -> None:
        """Nothing to close."""


def _marks(audio: decoder_pb2.AudioEmbedding) -> str:
    arrays = [tensors.from_proto(window, "window") for window in audio.windows]
    return "+".join(f"{int(array[0, 0])}x{len(array)}" for array in arrays)


class FakeDecoder(decoder_pb2_grpc.DecoderServiceServicer):
    """Answers what it was asked, one word at a time: texts as they are, audio as <MARKxTOKENS+...>.

    `error` is raised instead; `endless` makes it go on until it is cancelled.
    """

    def __init__(self) -> None:
        self.fingerprint = FINGERPRINT
        self.model = "toy"
        self.context_tokens = 2048
        self.seen: list[Seen] = []
        self.requests: list[decoder_pb2.GenerateRequest] = []
        self.described = 0
        self.error: AuricleError | None = None
        self.endless = False
        self.cancelled = asyncio.Event()

    async def DescribeDecoder(self, request: Any, context: Any) -> decoder_pb2.DescribeDecoderResponse:
        self.described += 1
        return decoder_pb2.DescribeDecoderResponse(
            model=self.model,
            fingerprint=self.fingerprint,
            hidden_size=HIDDEN_SIZE,
            context_tokens=self.context_tokens,
            mel_bins=MEL_BINS,
        )

    async def Generate(
        self, request: decoder_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[decoder_pb2.GenerateResponse]:
        self.seen.append(Seen.now())
        self.requests.append(request)
        if self.error:
            raise self.error
        try:
            words = self._words(request)
            for word in words:
                yield decoder_pb2.GenerateResponse(text_delta=f"{word} ")
            while self.endless:
                await asyncio.sleep(0.01)
                yield decoder_pb2.GenerateResponse(text_delta="more ")
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        completion = decoder_pb2.Completion(
            finish_reason=generation_pb2.FINISH_REASON_STOP,
            prompt_tokens=100,
            output_tokens=len(words),
            prefill_ms=4.0,
            decode_ms=5.0,
        )
        yield decoder_pb2.GenerateResponse(completion=completion)

    def _words(self, request: decoder_pb2.GenerateRequest) -> list[str]:
        words = []
        for message in request.messages:
            words.append(f"{generation_pb2.Role.Name(message.role)[5:].lower()}:")
            words += [f"<{_marks(part.audio)}>" if part.HasField("audio") else part.text for part in message.parts]
        return words


def served(name: str, add: Callable[[Any, grpc.aio.Server], None], servicer: Any, port: int = 0) -> GrpcServer:
    """The servicer behind the shell that every service has."""
    service = Service(name, [f"auricle.v1.{name}"], lambda server: add(servicer, server))
    settings: dict[str, Any] = {"port": port, "drain_seconds": 0.1}
    return GrpcServer(service, ServerSettings(**settings))


def serve_preprocess(fake: FakePreprocess, port: int = 0) -> GrpcServer:
    """The fake on a port; 0 takes a free one."""
    return served("PreprocessService", preprocess_pb2_grpc.add_PreprocessServiceServicer_to_server, fake, port)


def serve_decoder(fake: FakeDecoder, port: int = 0) -> GrpcServer:
    """The fake on a port; 0 takes a free one."""
    return served("DecoderService", decoder_pb2_grpc.add_DecoderServiceServicer_to_server, fake, port)


@dataclass
class Platform:
    """A gateway, what stands behind it, and a stub in front of it."""

    gateway: GrpcServer
    preprocess: FakePreprocess
    encoder: FakeEncoder
    decoder: FakeDecoder
    channel: grpc.aio.Channel
    stub: assistant_pb2_grpc.AssistantServiceStub

    async def chat(self, *messages: assistant_pb2.Message, **call: Any) -> assistant_pb2.ChatResponse:
        """Ask and wait for the whole answer."""
        call = {"timeout": 20, **call}
        return await self.stub.Chat(assistant_pb2.ChatRequest(messages=messages), **call)

    async def model(self) -> assistant_pb2.GetModelResponse:
        """Ask what is served."""
        return await self.stub.GetModel(assistant_pb2.GetModelRequest(), timeout=20)


@asynccontextmanager
async def running_platform(*, canary_encoder: FakeEncoder | None = None, **settings: Any) -> AsyncIterator[Platform]:
    """Fakes and a gateway on free ports; `settings` are the gateway's."""
    preprocess, encoder, decoder = FakePreprocess(), FakeEncoder(), FakeDecoder()
    async with AsyncExitStack() as stack:
        preprocess_server = await stack.enter_async_context(serve_preprocess(preprocess))
        decoder_server = await stack.enter_async_context(serve_decoder(decoder))
        given = GatewaySettings(
            **{
                "port": 0,
                "metrics_port": 0,
                "drain_seconds": 0.1,
                "store_url": "memory://",
                "preprocess_address": f"127.0.0.1:{preprocess_server.port}",
                "decoder_address": f"127.0.0.1:{decoder_server.port}",
                **settings,
            }
        )
        gateway = await stack.enter_async_context(
            GrpcServer(build(given, encoder=encoder, canary_encoder=canary_encoder), given)
        )
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}", CLIENT_LIMITS))
        stub = assistant_pb2_grpc.AssistantServiceStub(channel)
        yield Platform(gateway, preprocess, encoder, decoder, channel, stub)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    """Wait until the condition holds; TimeoutError when it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.01)


def text(value: str) -> assistant_pb2.ContentPart:
    """A text part."""
    return assistant_pb2.ContentPart(text=value)


def audio(data: bytes) -> assistant_pb2.ContentPart:
    """An inline audio part."""
    return assistant_pb2.ContentPart(audio=assistant_pb2.AudioSource(data=data))


def named(name: str) -> assistant_pb2.ContentPart:
    """A part that names an upload."""
    return assistant_pb2.ContentPart(audio=assistant_pb2.AudioSource(name=name))


def user(*parts: assistant_pb2.ContentPart) -> assistant_pb2.Message:
    """A user's turn."""
    return assistant_pb2.Message(role=generation_pb2.ROLE_USER, content=parts)
