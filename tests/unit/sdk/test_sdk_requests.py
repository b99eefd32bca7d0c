"""Conversations in the shape that transformers uses become requests of the contract."""

from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from auricle import Audio, Generation
from auricle._requests import chat_request
from auricle.v1 import generation_pb2

pytestmark = pytest.mark.unit

AUDIO = {"type": "audio", "audio": b"RIFF"}
TEXT = {"type": "text", "text": "What is said?"}


def kinds(conversation: Any) -> list[tuple[str, list[str]]]:
    """Role and kinds of part of each turn."""
    messages = chat_request(conversation, {}).messages
    return [(generation_pb2.Role.Name(m.role), [str(part.WhichOneof("part")) for part in m.content]) for m in messages]


def test_a_string_is_a_question() -> None:
    request = chat_request("Why?", {})
    assert kinds("Why?") == [("ROLE_USER", ["text"])]
    assert request.messages[0].content[0].text == "Why?"


def test_parts_alone_are_one_turn_of_the_user_in_their_order() -> None:
    assert kinds([AUDIO]) == [("ROLE_USER", ["audio"])]
    assert kinds([AUDIO, TEXT, AUDIO]) == [("ROLE_USER", ["audio", "text", "audio"])]
    assert kinds((TEXT,)) == [("ROLE_USER", ["text"])]


def test_turns_keep_their_roles() -> None:
    conversation = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [AUDIO, TEXT]},
        {"role": "assistant", "content": [{"type": "text", "text": "A door."}]},
        {"role": "user", "content": "And then?"},
    ]
    assert kinds(conversation) == [
        ("ROLE_SYSTEM", ["text"]),
        ("ROLE_USER", ["audio", "text"]),
        ("ROLE_ASSISTANT", ["text"]),
        ("ROLE_USER", ["text"]),
    ]


@pytest.mark.parametrize("key", ["audio", "audio_url", "path", "url"])
def test_every_key_that_transformers_knows_names_the_audio(key: str, tmp_path: Any) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"RIFF")
    request = chat_request([{"type": "audio", key: str(path)}], {})
    assert request.messages[0].content[0].audio.data == b"RIFF"


@pytest.mark.parametrize("key", ["sample_rate", "sampling_rate"])
def test_an_array_brings_its_sample_rate(key: str) -> None:
    request = chat_request([{"type": "audio", "audio": np.zeros(4), key: 44_100}], {})
    assert request.messages[0].content[0].audio.raw_pcm.sample_rate_hz == 44_100


def test_an_upload_is_named() -> None:
    request = chat_request([{"type": "audio", "audio": Audio("audios/a1")}], {})
    assert request.messages[0].content[0].audio.name == "audios/a1"


@pytest.mark.parametrize(
    ("conversation", "complaint"),
    [
        ([], "the conversation is empty"),
        ([{"role": "user", "content": []}], r"messages\[0\]\.content is empty"),
        ([{"role": "robot", "content": "x"}], r"messages\[0\]\.role must be one of system, user, assistant"),
        ([{"role": "user", "content": "x"}, TEXT], r"messages\[1\] has the unknown key 'type'"),
        ([{"role": "user", "content": "x", "name": "Al"}], "unknown key 'name'"),
        ([{"type": "image", "image": "x.png"}], "unknown key 'image'"),
        ([{"type": "video"}], r'content\[0\]\.type must be "text" or "audio"'),
        ([{"text": "no type"}], "unknown key 'text'"),
        ([{"type": "audio"}], r'content\[0\] has no "audio"'),
        ([{**AUDIO, "path": "x.wav"}], "has both 'audio' and 'path'"),
        ([{**AUDIO, "sample_rat": 1}], "unknown key 'sample_rat'"),
        ([TEXT, {"type": "audio", "audio_url": "https://x/a.wav"}], r"content\[1\]: audio is not fetched from URLs"),
        ([{"type": "audio", "audio": np.zeros((2, 2))}], r"messages\[0\]\.content\[0\]: .*one dimension"),
    ],
)
def test_wrong_values_are_refused_with_their_place(conversation: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        chat_request(conversation, {})


@pytest.mark.parametrize(
    ("conversation", "complaint"),
    [
        (None, "a string or a list of dicts, not NoneType"),
        (b"RIFF", "a string or a list of dicts, not bytes"),
        ({"role": "user", "content": "x"}, "not dict"),
        (["hello"], r"messages\[0\]\.content\[0\] must be a dict, not str"),
        ([{"role": "user", "content": 7}], r"messages\[0\]\.content must be a string or a list of parts, not int"),
        ([{"type": "text", "text": 7}], r"content\[0\]\.text must be a string"),
        ([{"type": "audio", "audio": 7}], r"content\[0\]: audio must be a path"),
    ],
)
def test_wrong_types_are_refused_with_their_place(conversation: Any, complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        chat_request(conversation, {})


def test_every_generation_option_arrives() -> None:
    options: Generation = {
        "max_output_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "repetition_penalty": 1.5,
        "seed": 2**63,
        "stop": ["a", "b"],
        "audio_contrast": 0.5,
        "json_schema": '{"type": "integer"}',
        "regex": "[0-9]+",
    }
    config = chat_request("x", options).config
    assert MessageToDict(config, preserving_proto_field_name=True) == {**options, "seed": str(2**63)}


def test_a_schema_may_be_a_dict() -> None:
    assert chat_request("x", {"json_schema": {"type": "integer"}}).config.json_schema == '{"type": "integer"}'


def test_the_options_are_those_of_the_contract() -> None:
    assert set(Generation.__annotations__) == set(generation_pb2.GenerationConfig.DESCRIPTOR.fields_by_name)


def test_absent_options_stay_unset_and_zero_is_not_absent() -> None:
    config = chat_request("x", {"temperature": 0.0, "seed": None, "stop": None}).config
    assert [field.name for field, _ in config.ListFields()] == ["temperature"]


def test_one_stop_string_is_not_its_letters() -> None:
    assert list(chat_request("x", {"stop": "end"}).config.stop) == ["end"]


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"max_new_tokens": 5}, TypeError, "unknown generation option 'max_new_tokens'; known are max_output_tokens"),
        ({"top_k": "many"}, TypeError, "top_k: "),
        ({"stop": [1]}, TypeError, "stop: "),
        ({"seed": -1}, ValueError, "seed: "),
        ({"json_schema": {"type": object}}, TypeError, "json_schema: "),
        ({"max_output_tokens": 2**40}, ValueError, "max_output_tokens: "),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        chat_request("x", options)
