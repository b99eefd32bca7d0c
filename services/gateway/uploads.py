"""The messages of an upload, in the order that the contract demands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from auricle.v1 import assistant_pb2
from services.common.errors import FailedPrecondition, InvalidArgument
from services.pipeline.conversation import MAX_CHUNK_BYTES

# How long a refused caller may go on sending, unheard.
FAREWELL_SECONDS = 2.0
# How long after the end of a stream its caller must still be there for the upload to be whole.
SETTLE_SECONDS = 0.02


async def config_of(requests: AsyncIterator[assistant_pb2.UploadAudioRequest]) -> assistant_pb2.UploadAudioConfig:
    """The configuration, which is the first message.

    Raises:
        InvalidArgument: it is not, or it names a size or a place that no file has.
    """
    async for request in requests:
        if request.WhichOneof("request") == "config":
            return _checked(request.config)
        break
    raise InvalidArgument.of_field("config", "the first message must be the configuration")


def _checked(config: assistant_pb2.UploadAudioConfig) -> assistant_pb2.UploadAudioConfig:
    if config.size_bytes < 0:
        raise InvalidArgument.of_field("config.size_bytes", "must not be below 0")
    if config.offset_bytes < 0 or (config.offset_bytes and not config.upload_id):
        raise InvalidArgument.of_field("config.offset_bytes", "must be 0 without an upload_id, and never below")
    return config


async def chunks_of(
    requests: AsyncIterator[assistant_pb2.UploadAudioRequest], config: assistant_pb2.UploadAudioConfig
) -> AsyncIterator[bytes]:
    """The chunks, which are all later messages.

    Raises:
        InvalidArgument: a message is no chunk, or a chunk is empty or too large.
        FailedPrecondition: the stream ended before the size that was announced (UPLOAD_INCOMPLETE).
    """
    received_bytes = config.offset_bytes
    async for request in requests:
        if request.WhichOneof("request") != "chunk":
            raise InvalidArgument.of_field("chunk", "every message after the first must be a chunk")
        if not 1 <= len(request.chunk) <= MAX_CHUNK_BYTES:
            raise InvalidArgument.of_field("chunk", f"must have 1 to {MAX_CHUNK_BYTES} bytes, has {len(request.chunk)}")
        received_bytes += len(request.chunk)
        yield request.chunk
    # Of a call that is cut off grpc.aio sometimes tells the end of its messages first, and that it was cut off next.
    await asyncio.sleep(SETTLE_SECONDS)
    if received_bytes < config.size_bytes:
        raise FailedPrecondition(
            f"the upload ended after {received_bytes} of {config.size_bytes} bytes",
            reason="UPLOAD_INCOMPLETE",
            metadata={"received_bytes": str(received_bytes)},
        )


async def hear_out(requests: AsyncIterator[assistant_pb2.UploadAudioRequest]) -> None:
    """Take what a refused caller still sends, for a short time, and forget it.

    A client that is just sending when the call ends may never see why: grpc.aio then reports the failed message as an
    internal error instead of the status.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(FAREWELL_SECONDS):
            async for _ in requests:
                pass
