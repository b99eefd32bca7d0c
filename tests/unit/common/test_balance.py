"""Calls of one channel take the servers behind a name in turn, and pass over one that is gone."""

from contextlib import AsyncExitStack
from typing import Any

import pytest

from auricle.v1 import decoder_pb2, decoder_pb2_grpc
from services.common.channels import connect
from services.common.server import GrpcServer, Service
from services.common.settings import ServerSettings

pytestmark = pytest.mark.unit


class Named(decoder_pb2_grpc.DecoderServiceServicer):
    """Answers which server it is."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def DescribeDecoder(self, request: Any, context: Any) -> decoder_pb2.DescribeDecoderResponse:
        return decoder_pb2.DescribeDecoderResponse(model=self._name)


def server(name: str) -> GrpcServer:
    def register(grpc_server: Any) -> None:
        decoder_pb2_grpc.add_DecoderServiceServicer_to_server(Named(name), grpc_server)

    return GrpcServer(Service(name, [], register), ServerSettings(port=0, drain_seconds=1))


async def test_calls_are_spread_over_the_servers_and_survive_one() -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(server("a"))
        second = server("b")
        await second.__aenter__()
        # gRPC's own way to give several addresses, as a name of a headless Service does.
        address = f"ipv4:127.0.0.1:{first.port},127.0.0.1:{second.port}"
        channel = await stack.enter_async_context(connect(address, max_message_bytes=2**20))
        stub = decoder_pb2_grpc.DecoderServiceStub(channel)

        async def ask() -> str:
            answer = await stub.DescribeDecoder(decoder_pb2.DescribeDecoderRequest(), timeout=10)
            return str(answer.model)

        while await ask() != "b" or await ask() != "a":
            """The second connection may come a moment later."""
        answers = [await ask() for _ in range(10)]
        assert sorted(answers) == ["a"] * 5 + ["b"] * 5
        await second.__aexit__()
        assert {await ask() for _ in range(10)} == {"a"}
