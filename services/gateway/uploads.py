"""The messages of an upload, in the order that the contract demands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from auricle.v1 import assistant_pb2
from services.common.errors import InvalidArgument
from services.pipeline.conversation import MAX_CHUNK_BYTES

# How long a refused caller may go on sending, unheard.
FAREWELL_SECONDS = 2.0


async def config_of(requests: AsyncIterator[assistant_pb2.UploadAudioRequest]) -> assistant_pb2.UploadAudioConfig:
    """The configuration, which is the first message.

    Raises:
        InvalidArgument: it is not, or names a place in the file without an upload.
    """
    async for request in requests:
        if request.WhichOneof("request") == "config":
            return _checked(request.config)
        break
    raise InvalidArgument.of_field("config", "the first message must be the configuration")


def _checked(config: assistant_pb2.UploadAudioConfig) -> assistant_pb2.UploadAudioConfig:
    if config.offset_bytes < 0 or (config.offset_bytes and not config.upload_id):
        raise InvalidArgument.of_field("config.offset_bytes", "must be 0 without an upload_id, and never below")
    return config


async def chunks_of(requests: AsyncIterator[assistant_pb2.UploadAudioRequest]) -> AsyncIterator[bytes]:
    """The chunks, which are all later messages.

    Raises:
        InvalidArgument: a message is no chunk, or a chunk is empty or too large.
    """
    async for request in requests:
        if request.WhichOneof("request") != "chunk":
            raise InvalidArgument.of_field("chunk", "every message after the first must be a chunk")
        if not 1 <= len(request.chunk) <= MAX_CHUNK_BYTES:
            raise InvalidArgument.of_field("chunk", f"must have 1 to {MAX_CHUNK_BYTES} bytes, has {len(request.chunk)}")
        yield request.chunk


async def hear_out(requests: AsyncIterator[assistant_pb2.UploadAudioRequest]) -> None:
    """Take what a refused caller still sends, for a short time, and forget it.

    A client that is just sending when the call ends may never see why: grpc.aio then reports the failed message as an
    internal error instead of the status.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(FAREWELL_SECONDS):
            async for _ in requests:
                pass
