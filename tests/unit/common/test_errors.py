"""An error keeps its code, reason and details on the way through a server and a client."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from auricle.v1 import decoder_pb2, decoder_pb2_grpc
from services.common import errors
from services.common.channels import connect
from services.common.errors import AuricleError, FieldViolation
from services.common.server import GrpcServer, Service
from services.common.settings import ServerSettings

pytestmark = pytest.mark.unit

EVERY_CLASS = [
    errors.InvalidArgument,
    errors.FailedPrecondition,
    errors.NotFound,
    errors.Unauthenticated,
    errors.ResourceExhausted,
    errors.DeadlineExceeded,
    errors.Unavailable,
]


class Failing(decoder_pb2_grpc.DecoderServiceServicer):
    """Raises what it is given, before or after a first message."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def DescribeDecoder(self, request: Any, context: Any) -> decoder_pb2.DescribeDecoderResponse:
        raise self.error

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[decoder_pb2.GenerateResponse]:
        yield decoder_pb2.GenerateResponse(text_delta="first")
        raise self.error


async def caught(error: Exception, streaming: bool = False) -> AuricleError:
    service = Service(
        "test",
        ["auricle.v1.DecoderService"],
        lambda server: decoder_pb2_grpc.add_DecoderServiceServicer_to_server(Failing(error), server),
    )
    async with (
        GrpcServer(service, ServerSettings(port=0, drain_seconds=0)) as server,
        connect(f"127.0.0.1:{server.port}", max_message_bytes=2**20) as channel,
    ):
        stub = decoder_pb2_grpc.DecoderServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            if streaming:
                async for message in stub.Generate(decoder_pb2.GenerateRequest(), timeout=10):
                    assert message.text_delta == "first"
            else:
                # The deadline also ends the retries of UNAVAILABLE.
                await stub.DescribeDecoder(decoder_pb2.DescribeDecoderRequest(), timeout=10)
        assert raised.value.code() is getattr(error, "code", grpc.StatusCode.INTERNAL)
        return errors.from_rpc_error(raised.value, "decoder")


@pytest.mark.parametrize("cls", EVERY_CLASS)
@pytest.mark.parametrize("streaming", [False, True])
async def test_details_survive_the_wire(cls: type[AuricleError], streaming: bool) -> None:
    sent = cls(
        "what to do",
        reason="SOME_REASON",
        metadata={"limit": "3"},
        violations=[FieldViolation("config.top_p", "too large")],
        retry_after_seconds=1.5,
    )
    got = await caught(sent, streaming)
    assert type(got) is cls
    assert (got.message, got.reason, got.metadata) == ("what to do", "SOME_REASON", {"limit": "3"})
    assert got.violations == sent.violations
    assert got.retry_after_seconds == 1.5


async def test_an_error_without_retry_carries_no_retry_info() -> None:
    assert (await caught(errors.NotFound("no such thing"))).retry_after_seconds is None


@pytest.mark.parametrize("error", [ValueError("secret path"), errors.Internal("secret path")])
async def test_internal_errors_tell_the_caller_nothing(error: Exception) -> None:
    got = await caught(error)
    assert type(got) is errors.Internal
    assert "secret" not in got.message


async def test_a_timeout_inside_becomes_deadline_exceeded() -> None:
    error = TimeoutError()
    error.code = grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
    assert type(await caught(error)) is errors.DeadlineExceeded


async def test_a_server_that_is_not_there_is_unavailable_with_retry() -> None:
    async with connect("127.0.0.1:1", max_message_bytes=2**20) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await decoder_pb2_grpc.DecoderServiceStub(channel).DescribeDecoder(
                decoder_pb2.DescribeDecoderRequest(), timeout=5
            )
    got = errors.from_rpc_error(raised.value, "decoder")
    assert type(got) is errors.Unavailable
    assert got.retry_after_seconds is not None
    assert "decoder" in got.message


def test_long_messages_are_bounded() -> None:
    assert len(errors.InvalidArgument("x" * 10_000).message) == errors.MAX_MESSAGE_CHARS
