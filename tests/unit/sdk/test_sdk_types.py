"""Answers carry everything that the contract has."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

import auricle
from auricle import _types
from auricle.v1 import assistant_pb2, audio_pb2, generation_pb2

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (auricle.Answer, assistant_pb2.ChatResponse),
        (auricle.Usage, assistant_pb2.Usage),
        (auricle.ServiceTiming, assistant_pb2.ServiceTiming),
        (auricle.HeardAudio, assistant_pb2.HeardAudio),
        (auricle.AudioWindow, audio_pb2.AudioWindow),
        (auricle.Audio, assistant_pb2.Audio),
        (auricle.Model, assistant_pb2.GetModelResponse),
        (auricle.ServiceStatus, assistant_pb2.ServiceStatus),
    ],
)
def test_no_field_of_the_contract_is_lost(cls: Any, message: Any) -> None:
    assert {field.name for field in dataclasses.fields(cls)} == set(message.DESCRIPTOR.fields_by_name)


def test_an_answer_reads_as_its_text() -> None:
    answer = _types.answer(assistant_pb2.ChatResponse(text="Paris"))
    assert str(answer) == f"{answer}" == "Paris"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (generation_pb2.FINISH_REASON_STOP, "stop"),
        (generation_pb2.FINISH_REASON_STOP_STRING, "stop_string"),
        (generation_pb2.FINISH_REASON_LENGTH, "length"),
        (99, "99"),
    ],
)
def test_finish_reasons_are_words_and_unknown_ones_do_no_harm(value: Any, name: str) -> None:
    assert _types.answer(assistant_pb2.ChatResponse(finish_reason=value)).finish_reason == name


def test_hashes_are_hex_and_times_are_in_utc() -> None:
    stored = assistant_pb2.Audio(name="audios/a", size_bytes=3, content_sha256=b"\xab\xcd")
    stored.expire_time.FromJsonString("2030-01-02T03:04:05Z")
    audio = _types.audio(assistant_pb2.UploadAudioResponse(audio=stored))
    assert audio.content_sha256 == "abcd"
    assert audio.expire_time == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    stored.ClearField("expire_time")
    assert _types.audio(assistant_pb2.UploadAudioResponse(audio=stored)).expire_time is None
