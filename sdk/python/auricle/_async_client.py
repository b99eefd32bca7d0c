"""The asyncio client. Same methods, same arguments, same errors as Client."""

import asyncio
from collections.abc import Mapping
from typing import Any, Unpack

import grpc

from auricle import _types
from auricle._async_jobs import AsyncJobs
from auricle._connection import (
    DEFAULT_MAX_MESSAGE_BYTES,
    DEFAULT_TIMEOUT_SECONDS,
    Connection,
    TLSConfig,
)
from auricle._requests import Conversation, Generation, chat_request
from auricle._stream import AsyncTextStream
from auricle._types import Answer, Audio, Model
from auricle._upload import Upload
from auricle._upload_messages import Progress
from auricle.v1 import assistant_pb2
from auricle.v1.assistant_pb2_grpc import AssistantServiceStub


class AsyncClient:
    """Asks an Auricle gateway from asyncio; see Client for arguments and errors.

    It may be made anywhere, and belongs to the event loop of its first call. Files are read outside of the loop.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        api_key: str | None = None,
        tls: bool | TLSConfig | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._connection = Connection.resolve(address, api_key, tls, timeout_seconds, max_message_bytes, metadata)
        self._channel: grpc.aio.Channel | None = None

    def _open_channel(self) -> grpc.aio.Channel:
        # A channel binds itself to the running loop, which need not exist yet when the client is made.
        if self._channel is None:
            self._channel = self._connection.async_channel()
        return self._channel

    @property
    def _stub(self) -> AssistantServiceStub:
        return AssistantServiceStub(self._open_channel())

    @property
    def jobs(self) -> AsyncJobs:
        """Tasks over recordings of any length."""
        return AsyncJobs(self)

    async def chat(
        self, conversation: Conversation, *, timeout_seconds: float | None = None, **generation: Unpack[Generation]
    ) -> Answer:
        """Ask and wait for the whole answer; see Client.chat."""
        request = await asyncio.to_thread(chat_request, conversation, generation)
        with self._connection.call(timeout_seconds) as call:
            return _types.answer(await self._stub.Chat(request, **call.arguments))

    def stream_chat(
        self, conversation: Conversation, *, timeout_seconds: float | None = None, **generation: Unpack[Generation]
    ) -> AsyncTextStream:
        """Ask and read the answer while it is decoded; see Client.stream_chat.

        async with client.stream_chat("Tell me a story.") as stream:
            async for text in stream:
                print(text, end="", flush=True)
        print(stream.answer.usage)
        """
        call = self._connection.call(timeout_seconds)

        async def start() -> Any:
            chat = await asyncio.to_thread(chat_request, conversation, generation)
            return self._stub.StreamChat(assistant_pb2.StreamChatRequest(chat=chat), **call.arguments)

        return AsyncTextStream(call, start)

    async def upload(
        self,
        audio: Any,
        *,
        sample_rate: int | None = None,
        on_progress: Progress | None = None,
        timeout_seconds: float | None = None,
    ) -> Audio:
        """Store a recording once, to be named in conversations; see Client.upload."""
        upload = Upload(self._connection, audio, sample_rate, on_progress, timeout_seconds)
        try:
            return await asyncio.to_thread(upload.run)
        except asyncio.CancelledError:
            upload.cancel()
            raise

    async def delete_audio(self, audio: Audio | str, *, timeout_seconds: float | None = None) -> None:
        """Remove an uploaded recording; see Client.delete_audio."""
        request = assistant_pb2.DeleteAudioRequest(name=audio.name if isinstance(audio, Audio) else audio)
        with self._connection.call(timeout_seconds) as call:
            await self._stub.DeleteAudio(request, **call.arguments)

    async def model(self, *, timeout_seconds: float | None = None) -> Model:
        """Which model answers, what it accepts, and whether every service is ready."""
        with self._connection.call(timeout_seconds) as call:
            return _types.model(await self._stub.GetModel(assistant_pb2.GetModelRequest(), **call.arguments))

    async def close(self) -> None:
        """Close the connection; questions in flight end with CancelledError."""
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
