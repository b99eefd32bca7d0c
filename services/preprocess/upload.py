"""The caller's side of a call: one configuration, then chunks, each checked as it comes."""

import asyncio
from collections.abc import AsyncIterator

from auricle.v1 import preprocess_pb2
from services.common.errors import InvalidArgument
from services.preprocess.domain import Reason
from services.preprocess.errors import UnusableAudio, UploadStalled
from services.preprocess.settings import PreprocessSettings

MAX_CHUNK_BYTES = 2**20


class Upload:
    """Reads the messages of one call. One reader at a time.

    Attributes:
        received_bytes: bytes of the recording that have come so far.
    """

    def __init__(self, requests: AsyncIterator[preprocess_pb2.PreprocessRequest], settings: PreprocessSettings) -> None:
        self._requests = aiter(requests)
        self._settings = settings
        self.received_bytes = 0

    async def config(self) -> preprocess_pb2.PreprocessConfig:
        """The first message.

        Raises:
            InvalidArgument: CONFIG_MISSING.
            UploadStalled: nothing came.
        """
        first = await self._next()
        if first is None or first.WhichOneof("request") != "config":
            raise InvalidArgument.of_field("config", "must be the first message", reason="CONFIG_MISSING")
        return first.config

    async def next_chunk(self) -> bytes | None:
        """The next bytes of the recording; None at its end.

        Raises:
            InvalidArgument: CHUNK_MISSING or CHUNK_SIZE_INVALID.
            UnusableAudio: AUDIO_TOO_LARGE.
            UploadStalled: nothing came for too long.
        """
        request = await self._next()
        if request is None:
            return None
        if request.WhichOneof("request") != "chunk":
            description = "every message after the first must be a chunk"
            raise InvalidArgument.of_field("chunk", description, reason="CHUNK_MISSING")
        if not 1 <= len(request.chunk) <= MAX_CHUNK_BYTES:
            description = f"has {len(request.chunk)} bytes; 1 to {MAX_CHUNK_BYTES} are taken"
            raise InvalidArgument.of_field("chunk", description, reason="CHUNK_SIZE_INVALID")
        self.received_bytes += len(request.chunk)
        self._check_size()
        return request.chunk

    async def discard(self) -> None:
        """Take what still comes and forget it.

        A caller whose message fails because the call has ended may never see why: gRPC then reports the failed message
        instead of the status. So a refused caller is heard out for a while.
        """
        async for _ in self._requests:
            pass

    async def _next(self) -> preprocess_pb2.PreprocessRequest | None:
        limit = self._settings.upload_stall_seconds
        try:
            async with asyncio.timeout(limit):
                return await anext(self._requests, None)
        except TimeoutError:
            raise UploadStalled(f"nothing was sent for {limit:g} s before the recording was complete") from None

    def _check_size(self) -> None:
        limit = self._settings.max_input_bytes
        if self.received_bytes > limit:
            metadata = {"limit_bytes": str(limit)}
            message = f"the recording has more than the {limit} bytes that are taken"
            raise UnusableAudio(message, reason=Reason.AUDIO_TOO_LARGE, metadata=metadata)
