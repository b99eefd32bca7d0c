"""The decoder's client: leaving early frees the decoder, and errors keep their details."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from auricle.v1 import decoder_pb2, generation_pb2
from services.common.channels import connect
from services.common.errors import ResourceExhausted
from services.pipeline.decoder_client import DecoderClient
from tests.platform_fakes import FakeDecoder, serve_decoder

pytestmark = pytest.mark.unit


class Wired:
    """A client before a fake decoder."""

    def __init__(self, decoder: FakeDecoder, client: DecoderClient) -> None:
        self.decoder = decoder
        self.client = client


@pytest.fixture
async def wired() -> AsyncIterator[Wired]:
    decoder = FakeDecoder()
    async with serve_decoder(decoder) as server:
        async with connect(f"127.0.0.1:{server.port}", max_message_bytes=2**20) as channel:
            yield Wired(decoder, DecoderClient(channel))


def request() -> decoder_pb2.GenerateRequest:
    made = decoder_pb2.GenerateRequest()
    made.messages.add(role=generation_pb2.ROLE_USER).parts.add(text="hello")
    return made


async def test_pieces_come_and_then_the_completion(wired: Wired) -> None:
    pieces = [piece async for piece in wired.client.generate(request())]
    assert [piece.text_delta for piece in pieces] == ["user: ", "hello ", ""]
    assert pieces[-1].completion.output_tokens == 2


async def test_leaving_early_frees_the_decoder_at_once(wired: Wired) -> None:
    wired.decoder.endless = True
    pieces = wired.client.generate(request())
    async with aclosing(pieces):
        await anext(pieces)
    await asyncio.wait_for(wired.decoder.cancelled.wait(), 20)


async def test_an_error_keeps_its_details(wired: Wired) -> None:
    wired.decoder.error = ResourceExhausted("full", reason="DECODER_FULL", retry_after_seconds=2)
    with pytest.raises(ResourceExhausted) as raised:
        await anext(wired.client.generate(request()))
    assert (raised.value.reason, raised.value.retry_after_seconds) == ("DECODER_FULL", 2)


async def test_it_knows_whether_the_connection_lives(wired: Wired) -> None:
    assert not wired.client.connected()
    assert (await wired.client.describe()).model == "toy"
    assert wired.client.connected()
