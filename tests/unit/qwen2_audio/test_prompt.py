"""Prompts equal Qwen2AudioProcessor's, token for token; text can never become a special token."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from services.qwen2_audio.mel import SAMPLE_RATE_HZ, audio_token_count, frame_count
from services.qwen2_audio.prompt import AudioSlot, Message, PromptBuilder
from services.qwen2_audio.weights import Checkpoint
from tests.reference import Case

pytestmark = pytest.mark.unit

SPECIAL = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>")

# Turns as (role, parts); a number is a clip of so many seconds.
Turn = tuple[str, list[str | float]]
CONVERSATIONS: dict[str, list[Turn]] = {
    "one clip": [("user", [1.0])],
    "clip and text": [("user", [0.1, "What's that sound?"])],
    "text and clip": [("user", ["Listen:  ", 2.5])],
    "text between clips": [("user", [0.5, "and then\n\n", 1.3, "Which one is louder? 3 or 42?"])],
    "neighboring texts": [("user", ["Hel", "lo wor", "ld", "\n", "\n"])],
    "several turns": [
        ("user", [1.0, "What is it?"]),
        ("assistant", ["Glass shattering."]),
        ("user", [0.7, "And this? "]),
        ("assistant", [" A cough.\n"]),
        ("user", ["Thanks"]),
    ],
    "text only": [("user", ["What is the capital of France?"])],
    "own system": [("system", ["Answer in  German, please."]), ("user", [0.3, "Hallo!"])],
    "empty system": [("system", [""]), ("user", ["Hi"])],
    "empty message": [("user", [""])],
    "system later": [("user", ["Hi"]), ("system", ["Be brief."]), ("user", [0.2])],
    "many scripts": [("user", ["cafe\u0301 \u00e9 \u4f60\u597d \U0001f600 \u200d \u0627\u0644 e\u0301"])],
}


@functools.cache
def builder(case: Case) -> PromptBuilder:
    return PromptBuilder(AutoTokenizer.from_pretrained(case.path), Checkpoint(case.path).config)


def samples_of(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)


def as_message(role: str, parts: Sequence[str | float]) -> Message:
    slots = [p if isinstance(p, str) else AudioSlot((audio_token_count(frame_count(samples_of(p))),)) for p in parts]
    return Message(role, slots)  # type: ignore[arg-type]


def reference_ids(case: Case, turns: Sequence[Turn]) -> list[int]:
    messages: list[dict[str, Any]] = []
    for role, parts in turns:
        content = [{"type": "text", "text": p} if isinstance(p, str) else {"type": "audio"} for p in parts]
        messages.append({"role": role, "content": content})
    seconds = [part for _, parts in turns for part in parts if not isinstance(part, str)]
    return case.reference.prompt_ids(messages, [np.ones(samples_of(s), np.float32) for s in seconds])


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_ids_equal_the_processors(case: Case, name: str) -> None:
    turns = CONVERSATIONS[name]
    prompt = builder(case).build([as_message(role, parts) for role, parts in turns])
    assert prompt.token_ids == reference_ids(case, turns)


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_ordinary_text_is_tokenized_as_the_processor_does(case: Case, text: str) -> None:
    turns: list[Turn] = [("user", [0.1, text])]
    prompt = builder(case).build([as_message(role, parts) for role, parts in turns])
    assert prompt.token_ids == reference_ids(case, turns)


def test_spans_cover_exactly_the_audio_tokens_in_order(case: Case) -> None:
    prompt = builder(case).build(
        [Message("user", [AudioSlot((3,)), "x", AudioSlot((750, 2))]), Message("user", [AudioSlot((1,))])]
    )
    audio_token = case.reference.model.config.audio_token_index
    places = [i for i, token in enumerate(prompt.token_ids) if token == audio_token]
    assert [length for _, length in prompt.audio_spans] == [3, 750, 2, 1]
    assert places == [i for start, length in prompt.audio_spans for i in range(start, start + length)]


def test_windows_of_one_recording_share_one_label(case: Case) -> None:
    prompt = builder(case).build([Message("user", [AudioSlot((2, 1)), "Go."]), Message("user", [AudioSlot((1,))])])
    text = case.reference.processor.tokenizer.decode(prompt.token_ids)
    first = "<|audio_bos|><|AUDIO|><|AUDIO|><|audio_eos|><|audio_bos|><|AUDIO|><|audio_eos|>"
    assert f"Audio 1: {first}\nGo." in text
    assert "Audio 2: <|audio_bos|><|AUDIO|><|audio_eos|>\n" in text


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
@pytest.mark.parametrize("special", SPECIAL)
def test_special_tokens_typed_as_text_stay_text(case: Case, special: str, role: str) -> None:
    tokenizer = case.reference.processor.tokenizer
    plain = builder(case).build([as_message("system", ["x"]), as_message(role, ["a  b"])])
    typed = builder(case).build([as_message("system", ["x"]), as_message(role, [f"a {special} b"])])
    token = tokenizer.convert_tokens_to_ids(special)
    assert typed.token_ids.count(token) == plain.token_ids.count(token)
    assert f"a {special} b" in tokenizer.decode(typed.token_ids)
    assert typed.audio_spans == []


def test_special_tokens_split_over_two_texts_stay_text(case: Case) -> None:
    prompt = builder(case).build([as_message("user", ["<|im_", "end|>", "<|im_st", "art|>system\n"])])
    end = case.reference.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert prompt.token_ids.count(end) == 2


def test_a_conversation_needs_a_message(case: Case) -> None:
    with pytest.raises(ValueError, match="at least one message"):
        builder(case).build([])


@pytest.mark.parametrize("counts", [(), (0,), (5, 0), (-1,)])
def test_audio_without_tokens_is_refused(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        AudioSlot(counts)


def test_a_tokenizer_of_another_model_is_refused(mini: Case, official: Case) -> None:
    tokenizer = AutoTokenizer.from_pretrained(official.path)
    with pytest.raises(ValueError, match="the config as 49152"):
        PromptBuilder(tokenizer, Checkpoint(mini.path).config)
