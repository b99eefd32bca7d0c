"""What goes wrong behind or before the gateway, as the caller sees it: code, reason, details, and in time."""

import asyncio
import socket
import time
from typing import Any

import grpc
import pytest

from auricle.v1 import assistant_pb2
from services.common.errors import (
    AuricleError,
    FieldViolation,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    from_rpc_error,
)
from tests.platform_fakes import (
    FakeDecoder,
    Platform,
    audio,
    named,
    recording,
    running_platform,
    serve_decoder,
    text,
    until,
    user,
)

pytestmark = pytest.mark.integration


async def refusal(platform: Platform, *messages: assistant_pb2.Message, **call: Any) -> AuricleError:
    """The error of a chat, read from the wire as a client reads it."""
    start = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await platform.chat(*messages, **call)
    assert time.monotonic() - start < 10
    return from_rpc_error(raised.value, "gateway")


async def refused_for(platform: Platform, reason: str) -> bool:
    return (await refusal(platform, user(text("hello")))).reason == reason


async def ready(platform: Platform) -> bool:
    return (await platform.model()).ready


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return int(s.getsockname()[1])


async def test_a_decoders_error_reaches_the_caller_unchanged() -> None:
    async with running_platform() as platform:
        platform.decoder.error = ResourceExhausted(
            "no place", reason="DECODER_FULL", metadata={"limit": "8"}, retry_after_seconds=2.5
        )
        error = await refusal(platform, user(text("hello")))
    assert isinstance(error, ResourceExhausted)
    assert (error.message, error.reason, error.metadata) == ("no place", "DECODER_FULL", {"limit": "8"})
    assert error.retry_after_seconds == 2.5


async def test_a_decoders_field_violations_reach_the_caller_unchanged() -> None:
    violations = (FieldViolation("messages", "too long"),)
    async with running_platform() as platform:
        platform.decoder.error = InvalidArgument("too long", reason="PROMPT_TOO_LONG", violations=violations)
        error = await refusal(platform, user(text("hello")))
    assert (error.reason, error.violations) == ("PROMPT_TOO_LONG", violations)


async def test_an_error_of_preprocess_reaches_the_caller_with_the_place_of_the_clip() -> None:
    async with running_platform() as platform:
        error = await refusal(platform, user(audio(recording("a")), text("or"), audio(b"not audio")))
    assert isinstance(error, InvalidArgument)
    assert error.message == "no container that is known"
    assert error.reason == "AUDIO_FORMAT_UNSUPPORTED"
    assert error.metadata == {"first": b"not ".hex(), "field": "messages[0].content[2].audio"}


async def test_an_internal_error_behind_the_gateway_gives_no_detail() -> None:
    async with running_platform() as platform:
        platform.decoder.error = Internal("a secret path")
        error = await refusal(platform, user(text("hello")))
    assert isinstance(error, Internal)
    assert "secret" not in error.message


async def test_audio_past_the_context_is_refused_with_what_fits() -> None:
    async with running_platform() as platform:
        platform.decoder.context_tokens = 1001
        error = await refusal(platform, user(audio(recording("a", *[10.0] * 200))))
        assert len(platform.encoder.encoded) <= 4
        assert not platform.decoder.requests
    assert error.reason == "PROMPT_TOO_LONG"
    assert "40 s" in error.message


async def test_forty_clips_are_refused_before_any_is_heard() -> None:
    async with running_platform() as platform:
        error = await refusal(platform, user(*[audio(recording("a"))] * 40))
        assert not platform.preprocess.seen
    assert error.reason == "TOO_MANY_AUDIO_PARTS"


@pytest.mark.parametrize("name", ["audios/" + "0" * 32, "nonsense", "audios/../../etc/passwd"])
async def test_an_unknown_recording_is_not_found_and_its_place_is_named(name: str) -> None:
    async with running_platform() as platform:
        error = await refusal(platform, user(text("a"), named(name)))
    assert error.code is grpc.StatusCode.NOT_FOUND
    assert error.reason == "AUDIO_NOT_FOUND"
    assert error.metadata["field"] == "messages[0].content[1].audio.name"


async def test_slightly_too_large_audio_gets_a_clear_error_and_far_too_large_grpcs_own() -> None:
    async with running_platform(max_inline_bytes=2**20, max_message_bytes=2**21) as platform:
        clear = await refusal(platform, user(audio(bytes(2**20 + 1))))
        assert clear.reason == "AUDIO_TOO_LARGE"
        oversized = await refusal(platform, user(audio(bytes(2**21 + 1))))
        assert isinstance(oversized, ResourceExhausted)
        assert (await platform.chat(user(text("hello")))).text


async def test_without_its_services_the_gateway_serves_and_says_unavailable_with_a_time_to_retry() -> None:
    nobody = f"127.0.0.1:{closed_port()}"
    async with running_platform(preprocess_address=nobody, decoder_address=nobody) as platform:
        error = await refusal(platform, user(audio(recording("a"))))
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert error.retry_after_seconds
        model = await platform.model()
        assert not model.ready
        assert {s.service: s.ready for s in model.services} == {
            "preprocess": False,
            "encoder": True,
            "decoder": False,
        }
        assert all(s.detail for s in model.services)


async def test_a_decoder_that_comes_up_later_is_found() -> None:
    port = closed_port()
    async with running_platform(decoder_address=f"127.0.0.1:{port}") as platform:
        assert (await refusal(platform, user(text("hello")))).code is grpc.StatusCode.UNAVAILABLE
        async with serve_decoder(FakeDecoder(), port):
            assert (await platform.chat(user(text("hello")))).text == "user: hello "


async def test_a_decoder_that_comes_back_with_another_model_is_not_used() -> None:
    port = closed_port()
    async with running_platform(decoder_address=f"127.0.0.1:{port}", model_check_seconds=60) as platform:
        async with serve_decoder(FakeDecoder(), port):
            assert (await platform.chat(user(text("hello")))).text
        other = FakeDecoder()
        other.fingerprint = "f2" * 32
        async with serve_decoder(other, port):
            await until(lambda: refused_for(platform, "MODEL_MISMATCH"))
            error = await refusal(platform, user(text("hello")))
            model = await platform.model()
        assert not other.requests
    assert error.code is grpc.StatusCode.FAILED_PRECONDITION
    assert error.reason == "MODEL_MISMATCH"
    assert not model.ready
    assert {s.service: s.ready for s in model.services}["decoder"] is False


async def test_an_encoder_with_another_model_is_not_used() -> None:
    async with running_platform() as platform:
        platform.encoder.fingerprint = "f2" * 32
        error = await refusal(platform, user(audio(recording("a"))))
        assert not platform.encoder.encoded
    assert error.reason == "MODEL_MISMATCH"


async def test_an_encoder_that_was_away_is_asked_again_what_it_serves() -> None:
    async with running_platform(model_check_seconds=60) as platform:
        assert (await platform.chat(user(audio(recording("a"))))).text
        platform.encoder.error = Unavailable("away", retry_after_seconds=1)
        assert (await refusal(platform, user(audio(recording("a"))))).reason == "SERVICE_UNAVAILABLE"
        platform.encoder.error, platform.encoder.fingerprint = None, "f2" * 32
        assert (await refusal(platform, user(audio(recording("a"))))).reason == "MODEL_MISMATCH"


async def test_a_decoder_that_hangs_costs_no_more_than_the_callers_deadline() -> None:
    async with running_platform() as platform:
        platform.decoder.endless = True
        error = await refusal(platform, user(text("hello")), timeout=0.5)
        assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(platform.decoder.cancelled.wait(), 5)


async def test_a_call_without_a_deadline_gets_the_gateways() -> None:
    async with running_platform(default_deadline_seconds=0.5) as platform:
        platform.decoder.endless = True
        error = await refusal(platform, user(text("hello")), timeout=None)
    assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
