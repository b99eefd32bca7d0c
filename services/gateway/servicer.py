"""AssistantService: from the contract to the domain and back, nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from auricle.v1 import assistant_pb2, assistant_pb2_grpc
from services.common.auth import current_tenant
from services.common.deadlines import remaining_seconds
from services.common.errors import AuricleError, Internal
from services.gateway.audio_store import AudioStore
from services.gateway.chats import Chats
from services.gateway.responses import audio_resource, chat_response, upload_progress
from services.gateway.resumable import ResumableUploads
from services.gateway.slots import Slots
from services.gateway.tracks import Tracks, wanted_track
from services.gateway.uploads import chunks_of, config_of, hear_out
from services.gateway.validation import ChatLimits
from services.pipeline.pipeline import Answer


class AssistantServicer(assistant_pb2_grpc.AssistantServiceServicer):
    """The public service. Errors are AuricleErrors; the server's interceptor gives them their form on the wire."""

    def __init__(
        self,
        chats: Chats,
        store: AudioStore,
        resumable: ResumableUploads,
        tracks: Tracks,
        limits: ChatLimits,
        max_concurrent_uploads: int,
    ) -> None:
        self._chats = chats
        self._store = store
        self._resumable = resumable
        self._tracks = tracks
        self._limits = limits
        self._upload_slots = Slots(max_concurrent_uploads, "uploads")

    async def Chat(self, request: assistant_pb2.ChatRequest, context: Any) -> assistant_pb2.ChatResponse:
        """The whole answer."""
        answer: Answer | None = None
        async with aclosing(self._chats.answer(request, wanted_track(context))) as pieces:
            async for piece in pieces:
                answer = piece if isinstance(piece, Answer) else answer
        if answer is None:
            raise Internal("the pipeline ended without an answer")
        return chat_response(answer)

    async def StreamChat(
        self, request: assistant_pb2.StreamChatRequest, context: Any
    ) -> AsyncIterator[assistant_pb2.StreamChatResponse]:
        """The answer while it is decoded."""
        async with aclosing(self._chats.answer(request.chat, wanted_track(context))) as pieces:
            async for piece in pieces:
                if isinstance(piece, Answer):
                    yield assistant_pb2.StreamChatResponse(summary=chat_response(piece))
                else:
                    yield assistant_pb2.StreamChatResponse(text_delta=piece)

    async def UploadAudio(
        self, requests: AsyncIterator[assistant_pb2.UploadAudioRequest], context: Any
    ) -> assistant_pb2.UploadAudioResponse:
        """Store a recording."""
        try:
            with self._upload_slots.take():
                async with asyncio.timeout(remaining_seconds()):
                    config = await config_of(requests)
                    if config.upload_id:
                        audio = await self._resumable.save(current_tenant(), config, chunks_of(requests, config))
                    else:
                        raw_pcm = config.raw_pcm if config.HasField("raw_pcm") else None
                        audio = await self._store.save(current_tenant(), raw_pcm, chunks_of(requests, config))
        except AuricleError:
            await hear_out(requests)
            raise
        return assistant_pb2.UploadAudioResponse(audio=audio_resource(audio))

    async def GetUpload(self, request: assistant_pb2.GetUploadRequest, context: Any) -> assistant_pb2.GetUploadResponse:
        """How far an upload has come."""
        return upload_progress(await self._resumable.progress(current_tenant(), request.upload_id))

    async def DeleteAudio(
        self, request: assistant_pb2.DeleteAudioRequest, context: Any
    ) -> assistant_pb2.DeleteAudioResponse:
        """Remove a recording."""
        await self._store.delete(current_tenant(), request.name)
        return assistant_pb2.DeleteAudioResponse()

    async def GetModel(self, request: assistant_pb2.GetModelRequest, context: Any) -> assistant_pb2.GetModelResponse:
        """Which model answers, what it accepts, and whether all is well."""
        status = await self._tracks.named(wanted_track(context)).board.status()
        response = assistant_pb2.GetModelResponse(
            max_audio_parts=self._limits.max_audio_parts,
            max_audio_bytes=self._limits.max_inline_bytes,
            ready=status.ready,
            services=[
                assistant_pb2.ServiceStatus(service=peer.service, ready=peer.ready, detail=peer.detail)
                for peer in status.peers
            ],
        )
        if status.model:
            response.model = status.model.name
            response.fingerprint = status.model.fingerprint
            response.context_tokens = status.model.context_tokens
        return response
