"""Manifests: one training or evaluation example per line of JSON.

    {"id": "speech/000001", "task": "transcription", "split": "train", "license": "...", "source": "...",
     "audio": ["speech/000001.wav"],
     "messages": [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "Transcribe the speech."}]},
                  {"role": "assistant", "content": "He is here."}],
     "rejected": "He is not here.", "words": [["He", 0.20, 0.31], ...]}

Audio paths are relative to the manifest; the n-th audio part of the messages is the n-th path. The last message is the
answer to learn. ``rejected`` is the worse answer of a DPO pair; ``choices`` are the answers a closed question allows.
For alignment, ``words`` are the times of what is heard, in seconds, and ``traits`` what is true of the whole clip, by
the name of the task that asks for it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import soundfile

from services.qwen2_audio.mel import MAX_WINDOW_SECONDS

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Example:
    """One line of a manifest; the fields are explained above. ``root`` is the manifest's folder, known once read."""

    id: str
    task: str
    split: str
    license: str
    source: str
    audio: list[str]
    messages: list[dict[str, Any]]
    rejected: str = ""
    words: list[tuple[str, float, float]] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)
    traits: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    root: Path = Path()

    @property
    def paths(self) -> list[Path]:
        """Where the audio files are."""
        return [self.root / name for name in self.audio]

    @property
    def answer(self) -> str:
        """What the model shall say."""
        return str(self.messages[-1]["content"])


@dataclass(frozen=True)
class Manifest:
    """The usable examples of a manifest file, and how many lines were left out for each reason."""

    examples: list[Example]
    skipped: Counter[str]


class BadLineError(Exception):
    """A manifest line that cannot be used; the text is the reason, the same for all lines of its kind."""


def read_manifest(path: Path, *splits: str) -> Manifest:
    """Examples of the given splits.

    Bad lines (no JSON, no answer, a missing or overlong audio file) are left out and counted by reason; audio of other
    splits is not looked at.

    Raises:
        FileNotFoundError: no such manifest.
    """
    examples: list[Example] = []
    skipped: Counter[str] = Counter()
    with path.open("rb") as lines:
        for line in lines:
            try:
                example = _parse(line, path.parent)
                if example.split in splits:
                    examples.append(replace(example, seconds=sum(_seconds(audio) for audio in example.paths)))
            except BadLineError as error:
                skipped[str(error)] += 1
    return Manifest(examples, skipped)


def write_manifest(path: Path, examples: Iterable[Example]) -> int:
    """Write examples, whole or not at all; returns how many."""
    count = 0
    scratch = path.with_suffix(".partial")
    with scratch.open("w") as lines:
        for example in examples:
            record = {
                key: value for key, value in asdict(example).items() if key != "root" and value not in ("", [], {}, 0.0)
            }
            lines.write(json.dumps({"audio": [], **record}, ensure_ascii=False) + "\n")
            count += 1
    scratch.replace(path)
    return count


def user_turn(text: str, clips: int) -> dict[str, Any]:
    """The user's message: its clips first, then the typed text, if any."""
    parts: list[dict[str, str]] = [{"type": "audio"}] * clips
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}] if text else parts}


def assistant_turn(text: str) -> dict[str, Any]:
    """The answer to learn."""
    return {"role": "assistant", "content": text}


def _parse(line: bytes, root: Path) -> Example:
    try:
        example = replace(Example(**json.loads(line)), root=root)
    except (TypeError, ValueError) as error:
        raise BadLineError("not an example in JSON") from error
    _check_messages(example)
    return example


def _check_messages(example: Example) -> None:
    messages = example.messages
    if not isinstance(messages, list) or not messages or any(m.get("role") not in ROLES for m in messages):
        raise BadLineError("messages without a known role")
    if messages[-1]["role"] != "assistant" or not example.answer.strip():
        raise BadLineError("an empty answer")
    if sum(1 for _ in _audio_parts(messages)) != len(example.audio):
        raise BadLineError("another number of audio parts than files")


def _audio_parts(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in messages:
        if isinstance(message["content"], list):
            yield from (part for part in message["content"] if part["type"] == "audio")


def _seconds(path: Path) -> float:
    try:
        info = soundfile.info(path)
    except (OSError, soundfile.LibsndfileError) as error:
        raise BadLineError("a missing or unreadable audio file") from error
    if info.duration > MAX_WINDOW_SECONDS:
        raise BadLineError(f"audio over the window of {MAX_WINDOW_SECONDS} s")
    if info.duration < 0.1:
        raise BadLineError("audio under 0.1 s")
    return float(info.duration)
