"""What a decode engine is to the rest of the service.

An engine takes prompts that are tokenized already and gives tokens and text back. It knows no protobuf and no chat
template; behind this interface the built-in torch engine may give way to another one.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import cached_property

import numpy as np

from services.common.errors import ResourceExhausted
from services.common.generation import GenerationParams
from services.decoder.grammar import Grammar

RETRY_AFTER_SECONDS = 1.0


class FinishReason(Enum):
    """Why an answer ended."""

    STOP = "stop"  # the model ended its turn
    STOP_STRING = "stop_string"
    LENGTH = "length"


class Priority(IntEnum):
    """Who goes first."""

    INTERACTIVE = 0  # somebody waits for the answer
    BULK = 1


@dataclass(frozen=True)
class AudioSpan:
    """Embeddings that take the place of placeholder tokens.

    Attributes:
        start: index of the first placeholder in the prompt.
        embeddings: float32 `(tokens, hidden_size)`, finite.
    """

    start: int
    embeddings: np.ndarray

    @cached_property
    def content_sha256(self) -> bytes:
        """Of the embeddings; computed when first asked for."""
        return hashlib.sha256(np.ascontiguousarray(self.embeddings).data).digest()


@dataclass(frozen=True)
class EngineRequest:
    """A prompt to be continued.

    Attributes:
        token_ids: the prompt, one placeholder token for each audio embedding.
        audio: what stands in the placeholders' stead.
        params: how to decode; prompt and `max_output_tokens` together fit into the context.
        arrival: when the request came, on time.monotonic's clock, in seconds.
        deadline: when its answer is of no more use, on the same clock.
        priority: who goes first.
        grammar: what the answer must be like, and how far it has come.
    """

    token_ids: Sequence[int]
    audio: Sequence[AudioSpan] = ()
    params: GenerationParams = field(default_factory=GenerationParams)
    arrival: float = 0.0
    deadline: float = float("inf")
    priority: Priority = Priority.INTERACTIVE
    grammar: Grammar | None = None


@dataclass(frozen=True)
class Finish:
    """How an answer ended and where its time went."""

    reason: FinishReason
    queue_seconds: float  # arrival to the first work
    prefill_seconds: float  # from there to the first token
    decode_seconds: float  # from the first token to the last
    cached_tokens: int = 0  # of the prompt, found in the prefix cache


@dataclass(frozen=True)
class TokenEvent:
    """The next piece of an answer.

    Attributes:
        token_ids: tokens generated since the last event, an end token included.
        text: text that is certain since the last event: whole characters, no part of a stop string.
        finish: set in the last event.
    """

    token_ids: tuple[int, ...]
    text: str
    finish: Finish | None = None


class Engine(ABC):
    """Decodes many requests together."""

    @property
    @abstractmethod
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together."""

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """Width of an audio embedding."""

    @abstractmethod
    async def start(self) -> None:
        """Load the model; requests are taken once this returns."""

    @abstractmethod
    async def close(self) -> None:
        """Stop decoding; requests still open end with Unavailable."""

    @abstractmethod
    def generate(self, request: EngineRequest) -> AsyncGenerator[TokenEvent, None]:
        """Continue a prompt. Closing the generator frees the request's place before the next step.

        Raises:
            ResourceExhausted: the queue is full, or the caller reads slower than tokens come.
            DeadlineExceeded: the deadline passed while the request waited or ran.
            Unavailable: the engine is closing.
        """


def queue_full(limit: int) -> ResourceExhausted:
    """The error of a request that comes when so many run or wait already."""
    return ResourceExhausted(
        f"{limit} requests run or wait already",
        reason="DECODER_QUEUE_FULL",
        metadata={"limit": str(limit)},
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
