"""Limits of conversations and of GenerationConfig: every mistake is named, at both ends with the same words."""

import math
from typing import Any

import pytest

from auricle.v1 import assistant_pb2, decoder_pb2, generation_pb2
from services.common import generation
from services.common.errors import InvalidArgument
from services.common.generation import GenerationParams, check_request, config_violations, params_of

pytestmark = pytest.mark.unit

USER, SYSTEM, ASSISTANT = generation_pb2.ROLE_USER, generation_pb2.ROLE_SYSTEM, generation_pb2.ROLE_ASSISTANT


def said(role: Any, *texts: str) -> decoder_pb2.DecoderMessage:
    return decoder_pb2.DecoderMessage(role=role, parts=[{"text": text} for text in texts])


def heard(role: Any) -> decoder_pb2.DecoderMessage:
    return decoder_pb2.DecoderMessage(role=role, parts=[{"audio": decoder_pb2.AudioEmbedding()}])


def fields_refused(messages: list[Any], parts_field: str = "parts", **config: Any) -> list[str]:
    try:
        check_request(messages, parts_field, generation_pb2.GenerationConfig(**config))
    except InvalidArgument as error:
        return [violation.field for violation in error.violations]
    return []


def test_unset_fields_take_the_defaults_and_set_ones_stay() -> None:
    assert params_of(generation_pb2.GenerationConfig()) == GenerationParams(
        max_output_tokens=256, temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0, seed=None, stop=()
    )
    given: dict[str, Any] = {
        "max_output_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "repetition_penalty": 1.5,
        "seed": 0,
        "audio_contrast": 0.5,
        "json_schema": "{}",
    }
    assert params_of(generation_pb2.GenerationConfig(**given, stop=["a", "b"])) == GenerationParams(
        **given, stop=("a", "b")
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_output_tokens", -1),
        ("max_output_tokens", 0),
        ("max_output_tokens", generation.MAX_OUTPUT_TOKENS + 1),
        ("temperature", -0.1),
        ("temperature", 2.01),
        ("temperature", math.nan),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("top_k", -1),
        ("top_k", 1001),
        ("repetition_penalty", 0.99),
        ("repetition_penalty", 2.01),
        ("repetition_penalty", math.inf),
        ("audio_contrast", -0.1),
        ("audio_contrast", 4.1),
        ("audio_contrast", math.nan),
    ],
)
def test_a_value_out_of_range_is_named(field: str, value: Any) -> None:
    (violation,) = config_violations(generation_pb2.GenerationConfig(**{field: value}))
    assert violation.field == f"config.{field}"
    assert "must be" in violation.description


@pytest.mark.parametrize(
    "config",
    [
        {"max_output_tokens": 1},
        {"max_output_tokens": 4096},
        {"temperature": 2.0},
        {"top_p": 1e-9},
        {"top_k": 1000},
        {"repetition_penalty": 2.0},
        {"seed": 2**64 - 1},
        {"stop": ["x" * 200] * 8},
        {"audio_contrast": 4.0},
        {"json_schema": "x" * 16384},
        {"regex": "x" * 1000},
    ],
)
def test_the_ends_of_the_ranges_are_allowed(config: dict[str, Any]) -> None:
    assert config_violations(generation_pb2.GenerationConfig(**config)) == []


def test_stop_strings_are_few_and_neither_empty_nor_long() -> None:
    stop = ["", "fine", "x" * 201]
    fields = [v.field for v in config_violations(generation_pb2.GenerationConfig(stop=stop))]
    assert fields == ["config.stop[0]", "config.stop[2]"]
    assert [v.field for v in config_violations(generation_pb2.GenerationConfig(stop=["x"] * 9))] == ["config.stop"]


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"json_schema": ""}, "config.json_schema"),
        ({"json_schema": "x" * 16385}, "config.json_schema"),
        ({"regex": ""}, "config.regex"),
        ({"regex": "é" * 501}, "config.regex"),
        ({"regex": "a", "json_schema": "{}"}, "config.regex"),
    ],
)
def test_the_form_of_an_answer_is_one_and_not_large(config: dict[str, Any], field: str) -> None:
    (violation,) = config_violations(generation_pb2.GenerationConfig(**config))
    assert violation.field == field


def test_all_mistakes_of_a_request_come_in_one_error() -> None:
    messages = [said(0, "hello"), said(USER), said(ASSISTANT, "x" * (2**16 + 1)), heard(ASSISTANT)]
    assert fields_refused(messages, max_output_tokens=-1, top_k=-1) == [
        "messages[0].role",
        "messages[1].parts",
        "messages[2].parts[0].text",
        "messages[3].parts[0].audio",
        "messages[3].role",
        "config.max_output_tokens",
        "config.top_k",
    ]


def test_a_list_of_mistakes_ends_somewhere() -> None:
    assert len(fields_refused([said(0)] * 100)) == generation.MAX_LISTED_VIOLATIONS


@pytest.mark.parametrize("count", [0, 257])
def test_a_conversation_has_1_to_256_messages(count: int) -> None:
    assert fields_refused([said(USER, "hello")] * count) == ["messages"]


def test_text_is_limited_in_all() -> None:
    assert fields_refused([said(USER, *["x" * 2**16] * 16)]) == []
    assert fields_refused([said(USER, *["x" * 2**16] * 16, "x")]) == ["messages"]


def test_a_system_message_may_only_be_the_first_and_a_user_has_the_last_word() -> None:
    assert fields_refused([said(SYSTEM, "be brief"), said(USER, "hello")]) == []
    assert fields_refused([said(USER, "hello"), said(SYSTEM, "be brief"), said(USER, "hi")]) == ["messages[1].role"]
    assert fields_refused([said(USER, "hello"), said(ASSISTANT, "hi")]) == ["messages[1].role"]
    assert fields_refused([said(SYSTEM, "be brief")]) == ["messages[0].role"]


def test_a_part_is_text_or_audio() -> None:
    message = decoder_pb2.DecoderMessage(role=USER, parts=[decoder_pb2.DecoderPart()])
    assert fields_refused([message]) == ["messages[0].parts[0]"]


def test_the_public_messages_obey_the_same_limits() -> None:
    message = assistant_pb2.Message(role=SYSTEM, content=[{"audio": assistant_pb2.AudioSource(name="audios/a")}])
    assert fields_refused([message], "content") == ["messages[0].content[0].audio", "messages[0].role"]
