"""Two models side by side: each answer by one of them, in the share that is set."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest

from auricle.v1 import assistant_pb2
from services.gateway.tracks import TRACK_KEY, bucket
from tests.platform_fakes import (
    FakeDecoder,
    FakeEncoder,
    Platform,
    audio,
    recording,
    running_platform,
    serve_decoder,
    text,
    until,
    user,
)

pytestmark = pytest.mark.integration

PERCENT = 30
OTHER = "c4" * 32
TO_CANARY = {"metadata": ((TRACK_KEY, "canary"),)}


@dataclass
class Both:
    stable: Platform
    encoder: FakeEncoder
    decoder: FakeDecoder


@asynccontextmanager
async def both(percent: int = PERCENT) -> AsyncIterator[Both]:
    encoder, decoder = FakeEncoder(), FakeDecoder()
    encoder.fingerprint = decoder.fingerprint = OTHER
    async with serve_decoder(decoder) as server:
        canary = {
            "canary_encoder_address": "127.0.0.1:1",
            "canary_decoder_address": f"127.0.0.1:{server.port}",
            "canary_percent": percent,
            "model_check_seconds": 0.1,
        }
        async with running_platform(canary_encoder=encoder, **canary) as platform:
            yield Both(platform, encoder, decoder)


def asked(number: int) -> list[assistant_pb2.Message]:
    return [user(audio(recording(f"clip {number}")), text("What is it?"))]


async def is_whole(both: Both) -> bool:
    try:
        await both.stable.chat(*asked(0), **TO_CANARY)
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_a_conversation_keeps_its_track_and_the_share_is_met() -> None:
    async with both() as running:
        await until(lambda: is_whole(running))
        before = len(running.decoder.requests)
        expected = 0
        for number in range(60):
            to_canary = bucket(asked(number)) < PERCENT
            expected += 2 * to_canary
            for _ in range(2):
                await running.stable.chat(*asked(number))
        assert 0 < expected < 120
        assert len(running.decoder.requests) - before == expected
        assert len(running.stable.decoder.requests) == 120 - expected
        # The audio of each was encoded by the half of its own model.
        assert len(running.encoder.encoded) - before == expected


async def test_a_caller_may_ask_for_a_track_by_name() -> None:
    async with both(percent=0) as running:
        await until(lambda: is_whole(running))
        await running.stable.chat(*asked(1))
        assert len(running.stable.decoder.requests) == 1
        status = await running.stable.stub.GetModel(assistant_pb2.GetModelRequest(), timeout=20, **TO_CANARY)
        assert (status.fingerprint, (await running.stable.model()).fingerprint) == (OTHER, FakeDecoder().fingerprint)
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await running.stable.chat(*asked(1), metadata=((TRACK_KEY, "green"),))
        assert unknown.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_canary_whose_halves_differ_gets_nothing_but_what_asks_for_it() -> None:
    async with both(percent=100) as running:
        await until(lambda: is_whole(running))
        running.encoder.fingerprint = "d5" * 32

        async def mismatched() -> bool:
            return not await is_whole(running)

        await until(mismatched)
        answered = len(running.decoder.requests)
        for number in range(5):
            await running.stable.chat(*asked(number))
        assert len(running.decoder.requests) == answered
        assert len(running.stable.decoder.requests) == 5


async def test_without_a_rollout_there_is_no_canary() -> None:
    async with running_platform() as platform:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await platform.chat(*asked(1), **TO_CANARY)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
