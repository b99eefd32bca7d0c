"""The shell: health, request ids, deadlines, limits, and a graceful end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from auricle.v1 import decoder_pb2, decoder_pb2_grpc
from services.common import deadlines
from services.common.channels import connect
from services.common.errors import Unavailable
from services.common.interceptors import REQUEST_ID_KEY, request_id
from services.common.server import GrpcServer, Service
from services.common.settings import ServerSettings

pytestmark = pytest.mark.unit

NAME = "auricle.v1.DecoderService"


class Slow(decoder_pb2_grpc.DecoderServiceServicer):
    """Answers its request id and what is left of its time; streams a word each 20 ms until told to end."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.words = 10
        self.order: list[str] = []
        self.calls = 0
        self.refusals = 0

    async def DescribeDecoder(self, request: Any, context: Any) -> decoder_pb2.DescribeDecoderResponse:
        self.calls += 1
        if self.calls <= self.refusals:
            raise Unavailable("not now")
        left = int(deadlines.remaining_seconds() * 1000)
        return decoder_pb2.DescribeDecoderResponse(model=request_id(), context_tokens=left)

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[decoder_pb2.GenerateResponse]:
        try:
            for _ in range(self.words):
                yield decoder_pb2.GenerateResponse(text_delta="word ")
                await asyncio.sleep(0.02)
            self.order.append("stream ended")
        except (asyncio.CancelledError, GeneratorExit):  # the second when the call ends while a word is being sent
            self.cancelled.set()
            raise


def service(slow: Slow, **hooks: Any) -> Service:
    return Service(
        "test", [NAME], lambda server: decoder_pb2_grpc.add_DecoderServiceServicer_to_server(slow, server), **hooks
    )


def settings(**fields: Any) -> ServerSettings:
    return ServerSettings(port=0, **fields)


async def health_of(channel: grpc.aio.Channel, name: str = NAME) -> int:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
    return int(answer.status)


async def test_the_callers_request_id_and_deadline_reach_the_handler() -> None:
    async with GrpcServer(service(Slow()), settings(default_deadline_seconds=7)) as server:
        async with connect(f"127.0.0.1:{server.port}", max_message_bytes=2**20) as channel:
            stub = decoder_pb2_grpc.DecoderServiceStub(channel)
            request = decoder_pb2.DescribeDecoderRequest()
            call = stub.DescribeDecoder(request, timeout=3, metadata=((REQUEST_ID_KEY, "mine"),))
            answer = await call
            assert answer.model == "mine"
            assert 1000 < answer.context_tokens <= 3000
            assert dict(await call.trailing_metadata())[REQUEST_ID_KEY] == "mine"
            without = await stub.DescribeDecoder(request)
            assert len(without.model) == 32
            assert 5000 < without.context_tokens <= 7000


async def test_until_started_health_is_not_serving_and_calls_are_unavailable() -> None:
    seen = []

    async def start() -> None:
        async with connect(f"127.0.0.1:{server.port}", max_message_bytes=2**20) as channel:
            seen.append(await health_of(channel))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await decoder_pb2_grpc.DecoderServiceStub(channel).DescribeDecoder(
                    decoder_pb2.DescribeDecoderRequest(), timeout=10
                )
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

    server = GrpcServer(service(Slow(), start=start), settings())
    async with server, connect(f"127.0.0.1:{server.port}", max_message_bytes=2**20) as channel:
        seen.append(await health_of(channel))
    assert seen == [health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING]


async def test_a_call_refused_as_unavailable_is_repeated_by_the_channel() -> None:
    slow = Slow()
    slow.refusals = 2
    async with GrpcServer(service(slow), settings()) as server:
        async with connect(f"127.0.0.1:{server.port}", max_message_bytes=2**20) as channel:
            await decoder_pb2_grpc.DecoderServiceStub(channel).DescribeDecoder(
                decoder_pb2.DescribeDecoderRequest(), timeout=10
            )
    assert slow.calls == 3


async def test_a_stream_in_flight_finishes_while_the_server_drains_and_resources_close_last() -> None:
    slow = Slow()

    async def close() -> None:
        slow.order.append("closed")

    server = GrpcServer(service(slow, close=close), settings(drain_seconds=5))
    await server.__aenter__()
    async with connect(f"127.0.0.1:{server.port}", max_message_bytes=2**20) as channel:
        call = decoder_pb2_grpc.DecoderServiceStub(channel).Generate(decoder_pb2.GenerateRequest(), timeout=10)
        words = [(await call.read()).text_delta]
        ending = asyncio.create_task(server.__aexit__())
        async for message in call:
            words.append(message.text_delta)
        await ending
    assert len(words) == 10
    assert slow.order == ["stream ended", "closed"]


async def test_a_stream_longer_than_the_drain_is_cut_off() -> None:
    slow = Slow()
    slow.words = 10_000
    server = GrpcServer(service(slow), settings(drain_seconds=0.1))
    await server.__aenter__()
    async with connect(f"127.0.0.1:{server.port}", max_message_bytes=2**20) as channel:
        call = decoder_pb2_grpc.DecoderServiceStub(channel).Generate(decoder_pb2.GenerateRequest(), timeout=10)
        await call.read()
        await server.__aexit__()
        await asyncio.wait_for(slow.cancelled.wait(), 2)


async def test_a_cancelled_call_cancels_its_handler() -> None:
    slow = Slow()
    async with GrpcServer(service(slow), settings()) as server:
        async with connect(f"127.0.0.1:{server.port}", max_message_bytes=2**20) as channel:
            call = decoder_pb2_grpc.DecoderServiceStub(channel).Generate(decoder_pb2.GenerateRequest(), timeout=10)
            await call.read()
            call.cancel()
            await asyncio.wait_for(slow.cancelled.wait(), 2)


async def test_an_oversized_message_is_resource_exhausted() -> None:
    async with GrpcServer(service(Slow()), settings(max_message_bytes=2**16)) as server:
        async with connect(f"127.0.0.1:{server.port}", max_message_bytes=2**24) as channel:
            request = decoder_pb2.GenerateRequest()
            request.messages.add().parts.add(text="x" * 2**17)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                async for _ in decoder_pb2_grpc.DecoderServiceStub(channel).Generate(request, timeout=5):
                    pass
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
