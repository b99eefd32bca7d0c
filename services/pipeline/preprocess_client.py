"""The preprocess service as the pipeline sees it: a recording's chunks in, windows out while later chunks still go."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import grpc

from auricle.v1 import preprocess_pb2, preprocess_pb2_grpc
from services.common.channels import call_metadata
from services.common.deadlines import remaining_seconds
from services.common.errors import AuricleError, Internal, Unavailable, from_rpc_error
from services.pipeline.conversation import AudioInput
from services.pipeline.health import check_health

# For callers without a deadline of their own.
MAX_CALL_SECONDS = 3600.0
# What grpc.aio says, in place of the status, when the call ends just while it sends a message. Preprocess hears a
# refused caller out so that this stays rare.
_SENDING_FAILED = "Internal error from Core"


class PreprocessClient:
    """Calls one preprocess service over a channel, which is closed with it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._stub = preprocess_pb2_grpc.PreprocessServiceStub(channel)

    async def check(self) -> str:
        """See ``check_health``."""
        return await check_health(self._channel, "preprocess")

    async def close(self) -> None:
        """Close the channel; calls in flight end as cancelled."""
        await self._channel.close()

    async def windows(
        self, audio: AudioInput, config: preprocess_pb2.PreprocessConfig
    ) -> AsyncGenerator[preprocess_pb2.PreprocessResponse, None]:
        """The recording's windows in order, then its summary. Leaving early cancels the call.

        Raises:
            AuricleError: what the service answered, with `audio.field` in its metadata; what reading the chunks raised.
        """
        source = _Source(audio, config)
        call = self._stub.Preprocess(
            source.requests(), timeout=remaining_seconds(MAX_CALL_SECONDS), metadata=call_metadata()
        )
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise source.failure or _about(audio, _ours(error)) from error
        except asyncio.CancelledError:
            # A request stream that fails makes gRPC cancel its own call, which must not look like the caller's wish.
            if source.failure is None:
                raise
            raise source.failure from None
        finally:
            call.cancel()


class _Source:
    """The request stream of one call; remembers why it broke, because gRPC does not."""

    def __init__(self, audio: AudioInput, config: preprocess_pb2.PreprocessConfig) -> None:
        self._audio = audio
        self._config = config
        self.failure: AuricleError | None = None

    async def requests(self) -> AsyncIterator[preprocess_pb2.PreprocessRequest]:
        yield preprocess_pb2.PreprocessRequest(config=self._config)
        try:
            async for chunk in self._audio.chunks():
                yield preprocess_pb2.PreprocessRequest(chunk=chunk)
        except AuricleError as error:
            self.failure = _about(self._audio, error)
            raise
        except Exception as error:
            self.failure = Internal(f"reading {self._audio.field}: {type(error).__name__}: {error}")
            raise


def _ours(error: grpc.aio.AioRpcError) -> AuricleError:
    if error.code() is grpc.StatusCode.INTERNAL and error.details() == _SENDING_FAILED:
        return Unavailable("preprocess ended the call while the recording was sent", retry_after_seconds=1.0)
    return from_rpc_error(error, "preprocess")


def _about(audio: AudioInput, error: AuricleError) -> AuricleError:
    error.metadata.setdefault("field", audio.field)
    return error
