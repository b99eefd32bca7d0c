"""A gateway of which only the wire is real: it records what it is sent and answers what it is told."""

import asyncio
import contextlib
import hashlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from auricle.v1 import assistant_pb2 as pb
from auricle.v1 import assistant_pb2_grpc, audio_pb2, generation_pb2

MAX_MESSAGE_BYTES = 64 * 2**20


@dataclass
class Assistant(assistant_pb2_grpc.AssistantServiceServicer):
    """Answers every question with `pieces`.

    Attributes:
        pieces: the answer as it is streamed.
        finish_reason: why the answer ends.
        heard_seconds: what it claims to have heard of one recording of 4.2 s.
        errors: each call first takes one; a Status ends the call, None lets it pass.
        hang: calls never end by themselves.
        early_refusal: uploads end with this before they are read.
        summary: False leaves out the end of a stream.
        services: what GetModel tells of the services behind the gateway.
        calls: method and metadata of every call that arrived.
        requests: what arrived with them.
        uploads: configuration, size and SHA-256 of every recording stored.
        called: set when a call has arrived.
        cancelled: set when a caller goes away.
    """

    pieces: tuple[str, ...] = ("Hello", ", ", "wörld", ".")
    finish_reason: generation_pb2.FinishReason = generation_pb2.FINISH_REASON_STOP
    heard_seconds: float = 4.2
    errors: deque[status_pb2.Status | None] = field(default_factory=deque)
    hang: bool = False
    early_refusal: status_pb2.Status | None = None
    summary: bool = True
    services: dict[str, bool] = field(default_factory=lambda: {"preprocess": True, "encoder": True, "decoder": True})
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    uploads: list[tuple[pb.UploadAudioConfig, int, bytes]] = field(default_factory=list)
    called: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def methods(self) -> list[str]:
        """Names of the methods that were called, in order."""
        return [method for method, _ in self.calls]

    async def Chat(self, request: pb.ChatRequest, context: grpc.aio.ServicerContext) -> pb.ChatResponse:
        with self._noticing_cancellation():
            await self._arrived("Chat", request, context)
        return self._answer()

    async def StreamChat(
        self, request: pb.StreamChatRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.StreamChatResponse]:
        hang, self.hang = self.hang, False
        await self._arrived("StreamChat", request, context)
        with self._noticing_cancellation():
            for piece in self.pieces:
                yield pb.StreamChatResponse(text_delta=piece)
            if hang:
                await asyncio.Event().wait()
        if self.errors:
            await abort(context, self.errors.popleft())
        if self.summary:
            yield pb.StreamChatResponse(summary=self._answer())

    async def UploadAudio(
        self, messages: AsyncIterator[pb.UploadAudioRequest], context: grpc.aio.ServicerContext
    ) -> pb.UploadAudioResponse:
        await self._arrived("UploadAudio", None, context)
        if self.early_refusal:
            await abort(context, self.early_refusal)
        config, size_bytes, digest = None, 0, hashlib.sha256()
        with self._noticing_cancellation():
            async for message in messages:
                if message.HasField("config"):
                    assert config is None
                    config = message.config
                else:
                    assert config is not None
                    assert 1 <= len(message.chunk) <= 2**20
                    size_bytes += len(message.chunk)
                    digest.update(message.chunk)
            # To grpc.aio's servers a cancelled stream looks like one that ended; the cancellation comes just after.
            await asyncio.sleep(0.05)
        assert config is not None
        self.uploads.append((config, size_bytes, digest.digest()))
        audio = pb.Audio(name="audios/a1", size_bytes=size_bytes, content_sha256=digest.digest())
        audio.expire_time.FromJsonString("2030-01-02T03:04:05Z")
        return pb.UploadAudioResponse(audio=audio)

    async def DeleteAudio(
        self, request: pb.DeleteAudioRequest, context: grpc.aio.ServicerContext
    ) -> pb.DeleteAudioResponse:
        await self._arrived("DeleteAudio", request, context)
        return pb.DeleteAudioResponse()

    async def GetModel(self, request: pb.GetModelRequest, context: grpc.aio.ServicerContext) -> pb.GetModelResponse:
        await self._arrived("GetModel", request, context)
        services = [pb.ServiceStatus(service=s, ready=r, detail=f"{s} 1.0") for s, r in self.services.items()]
        return pb.GetModelResponse(
            model="auricle-test",
            fingerprint="abc123",
            context_tokens=2048,
            max_audio_parts=16,
            max_audio_bytes=32 * 2**20,
            ready=all(self.services.values()),
            services=services,
        )

    async def _arrived(self, method: str, request: Any, context: grpc.aio.ServicerContext) -> None:
        self.calls.append((method, dict(context.invocation_metadata() or ())))
        self.requests.append(request)
        self.called.set()
        if self.errors and (error := self.errors.popleft()) is not None:
            await abort(context, error)
        if self.hang:
            await asyncio.Event().wait()

    @contextlib.contextmanager
    def _noticing_cancellation(self) -> Iterator[None]:
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    def _answer(self) -> pb.ChatResponse:
        window = audio_pb2.AudioWindow(duration_seconds=self.heard_seconds, content_sha256=b"\x01" * 32)
        heard = pb.HeardAudio(received_seconds=4.2, heard_seconds=self.heard_seconds, windows=[window])
        usage = pb.Usage(
            audio_received_seconds=4.2,
            audio_heard_seconds=self.heard_seconds,
            audio_tokens=105,
            cached_tokens=5,
            prompt_tokens=130,
            output_tokens=12,
            first_token_ms=80.5,
            total_ms=240.25,
        )
        for service, wall_ms in (("preprocess", 31.5), ("encoder", 40.5), ("decoder", 160.5)):
            usage.timings.add(service=service, wall_ms=wall_ms, compute_ms=wall_ms - 1)
        text = "".join(self.pieces)
        return pb.ChatResponse(
            text=text, finish_reason=self.finish_reason, heard=[heard], usage=usage, model="auricle-test"
        )


async def abort(context: grpc.aio.ServicerContext, status: status_pb2.Status | None) -> None:
    """End the call with the status; one without details goes out as a plain gRPC status, as foreign servers send."""
    assert status is not None
    rich = rpc_status.to_status(status)
    await context.abort(rich.code, rich.details, trailing_metadata=rich.trailing_metadata if status.details else ())


class RunningAssistant:
    """Serves an Assistant from a thread of its own, so that blocking and asyncio clients can be tested alike."""

    def __init__(self, assistant: Assistant, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> None:
        self._assistant = assistant
        self._port = port
        self._credentials = credentials
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> str:
        """Serve; returns `localhost:port`."""
        self._thread.start()
        self._server, port = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(30)
        return f"localhost:{port}"

    def stop(self) -> None:
        """Stop without grace; calls in flight are cancelled."""
        asyncio.run_coroutine_threadsafe(self._server.stop(None), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _serve(self) -> tuple[grpc.aio.Server, int]:
        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)]
        server = grpc.aio.server(options=options)
        assistant_pb2_grpc.add_AssistantServiceServicer_to_server(self._assistant, server)
        address = f"localhost:{self._port}"
        if self._credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, self._credentials)
        await server.start()
        return server, port


@contextlib.contextmanager
def serving(assistant: Assistant, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
    """The address of the assistant while it is served."""
    running = RunningAssistant(assistant, port, credentials)
    address = running.start()
    try:
        yield address
    finally:
        running.stop()
