"""A chat: checked, its recordings found, answered through the pipeline."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from auricle.v1 import assistant_pb2
from services.common.auth import current_tenant
from services.common.errors import NotFound
from services.gateway.audio_store import AudioStore
from services.gateway.slots import Slots
from services.gateway.tracks import Tracks
from services.gateway.validation import ChatLimits, audio_field, check_chat
from services.pipeline.conversation import AudioInput, Turn, chunked
from services.pipeline.pipeline import Answer
from services.pipeline.timing import RequestClock

# Large enough to cost few messages, small enough to let preprocess begin at once.
CHUNK_BYTES = 256 * 2**10


class Chats:
    """Answers chats, a bounded number at once."""

    def __init__(self, tracks: Tracks, store: AudioStore, limits: ChatLimits, max_concurrent: int) -> None:
        self._tracks = tracks
        self._store = store
        self._limits = limits
        self._slots = Slots(max_concurrent, "chats")

    async def answer(
        self, request: assistant_pb2.ChatRequest, wanted: str | None = None
    ) -> AsyncGenerator[str | Answer, None]:
        """The answer's text piece by piece, and at last the whole Answer.

        Args:
            request: the conversation.
            wanted: the track that it asks for, if it does.

        Raises:
            InvalidArgument: the request breaks the contract.
            FailedPrecondition: the track that it asks for is not there (NO_CANARY).
            NotFound: a named recording is not there (AUDIO_NOT_FOUND).
            ResourceExhausted: too many chats are in progress (GATEWAY_BUSY).
            AuricleError: what the pipeline raises.
        """
        clock = RequestClock()
        with self._slots.take():
            check_chat(request, self._limits)
            turns = [await self._turn(index, message) for index, message in enumerate(request.messages)]
            track = self._tracks.choose(request.messages, wanted)
            async with aclosing(track.pipeline.answer(turns, request.config, clock)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _turn(self, index: int, message: assistant_pb2.Message) -> Turn:
        parts = [
            part.text
            if part.WhichOneof("part") == "text"
            else await self._recording(audio_field(index, number), part.audio)
            for number, part in enumerate(message.content)
        ]
        return Turn(message.role, parts)

    async def _recording(self, field: str, source: assistant_pb2.AudioSource) -> AudioInput:
        if source.WhichOneof("source") == "data":
            raw_pcm = source.raw_pcm if source.HasField("raw_pcm") else None
            return AudioInput(field, lambda: chunked(source.data, CHUNK_BYTES), raw_pcm)
        tenant = current_tenant()
        try:
            stored = await self._store.find(tenant, source.name)
        except NotFound as error:
            error.metadata["field"] = f"{field}.name"
            raise
        return AudioInput(field, lambda: self._store.chunks(tenant, stored.name, CHUNK_BYTES), stored.raw_pcm)
