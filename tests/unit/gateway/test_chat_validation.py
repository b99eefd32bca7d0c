"""Requests that break the contract, each with its own reason and the place of the mistake."""

from typing import Any

import pytest

from auricle.v1 import assistant_pb2, audio_pb2, generation_pb2
from services.common.errors import InvalidArgument
from services.gateway.validation import ChatLimits, check_chat
from tests.platform_fakes import audio, named, text, user

pytestmark = pytest.mark.unit

LIMITS = ChatLimits(max_audio_parts=3, max_inline_bytes=100)
USER, ASSISTANT, SYSTEM = generation_pb2.ROLE_USER, generation_pb2.ROLE_ASSISTANT, generation_pb2.ROLE_SYSTEM


def turn(role: "generation_pb2.Role", *parts: assistant_pb2.ContentPart) -> assistant_pb2.Message:
    return assistant_pb2.Message(role=role, content=parts)


def refused(*messages: assistant_pb2.Message, **config: Any) -> InvalidArgument:
    request = assistant_pb2.ChatRequest(messages=messages, config=generation_pb2.GenerationConfig(**config))
    with pytest.raises(InvalidArgument) as raised:
        check_chat(request, LIMITS)
    return raised.value


def fields(error: InvalidArgument) -> list[str]:
    return [violation.field for violation in error.violations]


@pytest.mark.parametrize(
    "messages",
    [
        [user(audio(b"x"))],
        [user(text("hello"))],
        [user(text(""), audio(b"x"), text("b"), audio(b""))],
        [turn(SYSTEM, text("be brief")), user(audio(b"x")), turn(ASSISTANT, text("yes")), user(named("audios/1"))],
        [user(audio(b"x" * 100), audio(b"x" * 100), audio(b"x" * 100))],
    ],
    ids=["audio alone", "text alone", "in any order", "several turns", "at the limits"],
)
def test_what_the_contract_allows_passes(messages: list[assistant_pb2.Message]) -> None:
    check_chat(assistant_pb2.ChatRequest(messages=messages), LIMITS)


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "messages"),
        ([user(text("a"))] * 257, "messages"),
        ([user()], "messages[0].content"),
        ([user(text("a")), turn(ASSISTANT, text("b"))], "messages[1].role"),
        ([turn(generation_pb2.ROLE_UNSPECIFIED, text("a")), user(text("b"))], "messages[0].role"),
        ([user(text("a")), turn(SYSTEM, text("b")), user(text("c"))], "messages[1].role"),
        ([turn(ASSISTANT, audio(b"x")), user(text("b"))], "messages[0].content[0].audio"),
        ([user(assistant_pb2.ContentPart())], "messages[0].content[0]"),
        ([user(text("a"), text("x" * (2**16 + 1)))], "messages[0].content[1].text"),
        ([user(assistant_pb2.ContentPart(audio=assistant_pb2.AudioSource()))], "messages[0].content[0].audio"),
    ],
)
def test_a_mistake_is_named_by_its_place(messages: list[assistant_pb2.Message], field: str) -> None:
    assert field in fields(refused(*messages))


def test_a_named_recording_is_not_described_again() -> None:
    source = assistant_pb2.AudioSource(name="audios/1", raw_pcm=audio_pb2.RawPcm(sample_rate_hz=16000))
    error = refused(user(assistant_pb2.ContentPart(audio=source)))
    assert fields(error) == ["messages[0].content[0].audio.raw_pcm"]


def test_too_many_clips_have_their_own_reason() -> None:
    error = refused(user(*[audio(b"x")] * 2), turn(ASSISTANT, text("a")), user(*[audio(b"x")] * 2))
    assert error.reason == "TOO_MANY_AUDIO_PARTS"
    assert "3" in error.message
    assert "4" in error.message


def test_too_large_inline_audio_is_told_where_to_go() -> None:
    error = refused(user(text("a"), audio(b"x" * 101)))
    assert error.reason == "AUDIO_TOO_LARGE"
    assert fields(error) == ["messages[0].content[1].audio.data"]
    assert "UploadAudio" in error.message


def test_a_wrong_generation_config_is_refused_before_any_work() -> None:
    assert fields(refused(user(text("a")), max_output_tokens=-1)) == ["config.max_output_tokens"]
