"""The conversation of an example without its answer: for the prompt builder, and for the SDK."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from services.evaluation.manifest import Example
from services.qwen2_audio.mel import LogMel, audio_token_count
from services.qwen2_audio.prompt import AudioSlot, Message


def to_messages(example: Example, clips: Sequence[LogMel]) -> list[Message]:
    """As the prompt builder takes it, the clips in order of their audio parts."""
    remaining = iter(clips)
    return [Message(turn["role"], _parts(turn["content"], remaining)) for turn in example.messages[:-1]]


def to_request(example: Example) -> list[dict[str, Any]]:
    """As the SDK takes it, every audio part with the path of its file."""
    paths = iter(example.paths)
    return [{**turn, "content": _with_paths(turn["content"], paths)} for turn in example.messages[:-1]]


def _parts(content: str | list[dict[str, Any]], clips: Iterator[LogMel]) -> list[str | AudioSlot]:
    if isinstance(content, str):
        return [content]
    return [
        AudioSlot((audio_token_count(next(clips).num_frames),)) if part["type"] == "audio" else part["text"]
        for part in content
    ]


def _with_paths(content: str | list[dict[str, Any]], paths: Iterator[Path]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    return [{"type": "audio", "audio": next(paths)} if part["type"] == "audio" else part for part in content]
