"""The decoder service as the pipeline sees it."""

from collections.abc import AsyncGenerator

import grpc

from auricle.v1 import decoder_pb2, decoder_pb2_grpc
from services.common.channels import call_metadata
from services.common.deadlines import remaining_seconds
from services.common.errors import from_rpc_error
from services.pipeline.health import check_health

# For callers without a deadline of their own.
MAX_CALL_SECONDS = 3600.0
DESCRIBE_TIMEOUT_SECONDS = 5.0


class DecoderClient:
    """Calls one decoder over a channel, which is closed with it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._stub = decoder_pb2_grpc.DecoderServiceStub(channel)

    def connected(self) -> bool:
        """False when the connection was lost since the last call: whoever answers next may be another decoder."""
        return self._channel.get_state() is grpc.ChannelConnectivity.READY

    async def check(self) -> str:
        """See ``check_health``."""
        return await check_health(self._channel, "decoder")

    async def close(self) -> None:
        """Close the channel; calls in flight end as cancelled."""
        await self._channel.close()

    async def describe(self) -> decoder_pb2.DescribeDecoderResponse:
        """What the decoder serves.

        Raises:
            AuricleError: what the decoder answered; Unavailable when it is not there.
        """
        try:
            return await self._stub.DescribeDecoder(
                decoder_pb2.DescribeDecoderRequest(), timeout=DESCRIBE_TIMEOUT_SECONDS, metadata=call_metadata()
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "decoder") from error

    async def generate(
        self, request: decoder_pb2.GenerateRequest
    ) -> AsyncGenerator[decoder_pb2.GenerateResponse, None]:
        """The answer piece by piece, the last with `completion`. Leaving early cancels the call.

        Raises:
            AuricleError: what the decoder answered.
        """
        call = self._stub.Generate(request, timeout=remaining_seconds(MAX_CALL_SECONDS), metadata=call_metadata())
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "decoder") from error
        finally:
            call.cancel()
