"""Conversations to token ids, with room for the audio embeddings.

Equal to ``Qwen2AudioProcessor`` with its default chat template (ChatML, one ``Audio N:`` label per audio part, a
default system turn where the conversation brings none), except that text stays text: a special token's name typed into
a message is spelled out like any other words and can neither end a turn nor stand for audio.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase, Qwen2AudioConfig

DEFAULT_SYSTEM = "You are a helpful assistant."
AUDIO_TOKEN = "<|AUDIO|>"
_AUDIO_START, _AUDIO_END = "<|audio_bos|>", "<|audio_eos|>"
_TURN_START, _TURN_END = "<|im_start|>", "<|im_end|>"

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class AudioSlot:
    """The place of one audio part: the number of embeddings of each of its windows (at most 30 s), in order."""

    token_counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.token_counts or min(self.token_counts) < 1:
            raise ValueError(f"an audio part needs windows of at least one token, got {self.token_counts}")


@dataclass(frozen=True)
class Message:
    """One turn: text and audio in the order the model shall read them."""

    role: Role
    parts: Sequence[str | AudioSlot]


@dataclass(frozen=True)
class Prompt:
    """Token ids, and where the embeddings of each window go: ``(start, length)``, in the order of the windows."""

    token_ids: list[int]
    audio_spans: list[tuple[int, int]]


@dataclass(frozen=True)
class _Special:
    name: str
    repeat: int = 1


class PromptBuilder:
    """Builds prompts for one checkpoint.

    Args:
        tokenizer: the checkpoint's own, as ``AutoTokenizer`` loads it.
        config: says which id stands for audio.

    Raises:
        ValueError: the tokenizer lacks a special token or cannot spell its name out as text, or its audio token is
            not the config's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: Qwen2AudioConfig) -> None:
        self._tokenizer = tokenizer
        self._special_ids = _special_ids(tokenizer)
        if self._special_ids[AUDIO_TOKEN] != config.audio_token_index:
            raise ValueError(
                f"the tokenizer has {AUDIO_TOKEN} as {self._special_ids[AUDIO_TOKEN]}, "
                f"the config as {config.audio_token_index}"
            )
        for name, token_id in self._special_ids.items():
            if token_id in self._spell(name):
                raise ValueError(f"the tokenizer reads {name} in plain text as a special token")

    def build(self, messages: Sequence[Message]) -> Prompt:
        """The prompt up to and with the opening of the assistant's answer.

        Raises:
            ValueError: no messages.
        """
        if not messages:
            raise ValueError("a conversation needs at least one message")
        token_ids: list[int] = []
        audio_spans: list[tuple[int, int]] = []
        for piece in _merge_texts(_render(messages)):
            if isinstance(piece, str):
                token_ids += self._spell(piece)
                continue
            if piece.name == AUDIO_TOKEN:
                audio_spans.append((len(token_ids), piece.repeat))
            token_ids += [self._special_ids[piece.name]] * piece.repeat
        return Prompt(token_ids, audio_spans)

    def _spell(self, text: str) -> list[int]:
        """Ids of plain text, in which no special token is recognized."""
        return self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    names = (AUDIO_TOKEN, _AUDIO_START, _AUDIO_END, _TURN_START, _TURN_END)
    vocabulary = tokenizer.get_vocab()
    missing = [name for name in names if name not in vocabulary]
    if missing:
        raise ValueError(f"the tokenizer lacks {', '.join(missing)}")
    return {name: vocabulary[name] for name in names}


def _render(messages: Sequence[Message]) -> Iterator[str | _Special]:
    """The chat template: text and special tokens in order."""
    if messages[0].role != "system":
        messages = [Message("system", [DEFAULT_SYSTEM]), *messages]
    audio_parts = 0
    for message in messages:
        yield from (_Special(_TURN_START), f"{message.role}\n")
        for part in message.parts:
            if isinstance(part, str):
                yield part
                continue
            audio_parts += 1
            yield f"Audio {audio_parts}: "
            for tokens in part.token_counts:
                yield from (_Special(_AUDIO_START), _Special(AUDIO_TOKEN, tokens), _Special(_AUDIO_END))
            yield "\n"
        yield from (_Special(_TURN_END), "\n")
    yield from (_Special(_TURN_START), "assistant\n")


def _merge_texts(pieces: Iterator[str | _Special]) -> Iterator[str | _Special]:
    """Join neighboring texts: a tokenizer merges across the seams that a template leaves no trace of."""
    text = ""
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
            continue
        if text:
            yield text
        text = ""
        yield piece
    if text:
        yield text
