"""Conversations in the shape that transformers uses, and generation options, turned into requests."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, get_type_hints

from auricle._audio import audio_source
from auricle.v1 import assistant_pb2, generation_pb2

# A question as a string, or dicts: the parts of one user's turn, or whole turns with "role" and "content". Any, because
# type checkers find no common type for a list that holds an array in one dict and text in the next.
Conversation = str | Sequence[Any]

_ROLES = {
    "system": generation_pb2.ROLE_SYSTEM,
    "user": generation_pb2.ROLE_USER,
    "assistant": generation_pb2.ROLE_ASSISTANT,
}
# "audio" and "audio_url" are Qwen2-Audio's own keys, "path" and "url" those of transformers' newer templates.
_AUDIO_KEYS = ("audio", "audio_url", "path", "url")
_SAMPLE_RATE_KEYS = ("sample_rate", "sampling_rate")


class Generation(TypedDict, total=False):
    """How to decode; what is absent or None takes the server's default (greedy, at most 256 tokens).

    Keys:
        max_output_tokens: most tokens to generate, 1 to 4,096.
        temperature: 0 decodes greedily, up to 2 samples.
        top_p: sample from the smallest set of tokens whose probabilities sum to this.
        top_k: sample from this many likeliest tokens; 0 means all.
        repetition_penalty: 1 to 2, against tokens already seen.
        seed: makes sampling repeatable.
        stop: generation ends before this string, or any of these strings.
        audio_contrast: 0 to 4, how far the answer leans towards what the audio adds, against invented sounds.
        json_schema: the answer is JSON of this schema: a dict, or its JSON.
        regex: the whole answer matches this regular expression.
    """

    max_output_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    repetition_penalty: float | None
    seed: int | None
    stop: str | Sequence[str] | None
    audio_contrast: float | None
    json_schema: str | Mapping[str, Any] | None
    regex: str | None


def chat_request(conversation: Conversation, generation: Mapping[str, Any]) -> assistant_pb2.ChatRequest:
    """The request for a conversation. Reads the files that it names.

    Raises:
        ValueError, TypeError: a turn, part, audio or generation option is wrong; the message says which.
        OSError: a file cannot be read.
    """
    return assistant_pb2.ChatRequest(messages=_messages(conversation), config=generation_config(generation))


def _messages(conversation: Conversation) -> list[assistant_pb2.Message]:
    if isinstance(conversation, str):
        return [_message({"role": "user", "content": conversation}, "messages[0]")]
    if not isinstance(conversation, Sequence) or isinstance(conversation, bytes | bytearray):
        raise TypeError(f"a conversation is a string or a list of dicts, not {type(conversation).__name__}")
    if not conversation:
        raise ValueError("the conversation is empty")
    first = conversation[0]
    if not isinstance(first, Mapping) or "role" not in first:
        return [_message({"role": "user", "content": conversation}, "messages[0]")]
    return [_message(turn, f"messages[{index}]") for index, turn in enumerate(conversation)]


def _message(turn: Any, where: str) -> assistant_pb2.Message:
    _check_keys(turn, ("role", "content"), where)
    role, content = turn.get("role"), turn.get("content")
    if role not in _ROLES:
        raise ValueError(f"{where}.role must be one of {', '.join(_ROLES)}, not {role!r}")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, Sequence) or isinstance(content, bytes | bytearray):
        raise TypeError(f"{where}.content must be a string or a list of parts, not {type(content).__name__}")
    if not content:
        raise ValueError(f"{where}.content is empty")
    parts = [_part(part, f"{where}.content[{index}]") for index, part in enumerate(content)]
    return assistant_pb2.Message(role=_ROLES[role], content=parts)


def _part(part: Any, where: str) -> assistant_pb2.ContentPart:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text":
        _check_keys(part, ("type", "text"), where)
        if not isinstance(part.get("text"), str):
            raise TypeError(f"{where}.text must be a string")
        return assistant_pb2.ContentPart(text=part["text"])
    _check_keys(part, ("type", *_AUDIO_KEYS, *_SAMPLE_RATE_KEYS), where)
    if kind != "audio":
        raise ValueError(f'{where}.type must be "text" or "audio", not {kind!r}')
    value = _only_one(part, _AUDIO_KEYS, where)
    if value is None:
        raise ValueError(f'{where} has no "audio"')
    try:
        return assistant_pb2.ContentPart(audio=audio_source(value, _only_one(part, _SAMPLE_RATE_KEYS, where)))
    except (ValueError, TypeError) as error:
        raise _located(error, where) from None


def _only_one(part: Mapping[str, Any], keys: Sequence[str], where: str) -> Any:
    given = [key for key in keys if part.get(key) is not None]
    if len(given) > 1:
        raise ValueError(f"{where} has both {given[0]!r} and {given[1]!r}")
    return part[given[0]] if given else None


def _check_keys(value: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} must be a dict, not {type(value).__name__}")
    unknown = [key for key in value if key not in known]
    if unknown:
        raise ValueError(f"{where} has the unknown key {unknown[0]!r}; known are {', '.join(known)}")


def _located(error: ValueError | TypeError, where: str) -> ValueError | TypeError:
    return (TypeError if isinstance(error, TypeError) else ValueError)(f"{where}: {error}")


def generation_config(generation: Mapping[str, Any]) -> generation_pb2.GenerationConfig:
    config = generation_pb2.GenerationConfig()
    known = get_type_hints(Generation)
    for name, value in generation.items():
        if name not in known:
            raise TypeError(f"unknown generation option {name!r}; known are {', '.join(known)}")
        if value is None:
            continue
        try:
            if name == "stop":
                config.stop.extend([value] if isinstance(value, str) else value)
            elif name == "json_schema" and not isinstance(value, str):
                config.json_schema = json.dumps(value)
            else:
                setattr(config, name, value)
        except (ValueError, TypeError) as error:
            raise _located(error, name) from None
    return config
