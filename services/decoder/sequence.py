"""One request on its way through the torch engine."""

from dataclasses import dataclass, field
from time import monotonic

from torch import Tensor

from services.decoder.contrast import without_audio
from services.decoder.detokenizer import Detokenizer
from services.decoder.engine import EngineRequest, Finish, FinishReason, Priority, TokenEvent
from services.decoder.kv_cache import BlockTable
from services.decoder.sampling import Sampler


@dataclass(eq=False)
class Sequence:
    """State of a request; only the engine's thread touches it once it was handed over.

    Attributes:
        request: what was asked.
        text: turns its tokens into text.
        sampler: chooses them; set when the engine takes the request.
        tokens: ids of the prompt and of what was generated so far.
        priority: the request's, unless it waited too long.
        table: its blocks of the KV cache, while it runs.
        cached: tokens of it whose keys and values are in the cache.
        block_keys: names of its full blocks (services.decoder.prefix).
        embeddings: `(tokens, hidden)`, from the first prefill chunk to the last.
        generated: tokens generated so far.
        found_tokens: tokens of the prompt that the prefix cache had when the request was first admitted.
        owner: whose shadow this is.
        shadow: the same request without its audio, for audio-aware decoding; it runs whenever this one does.
        logits: of the next token, held until the shadow has its own.
        waiting_since: when it joined the queue, on time.monotonic's clock.
        served_at: when it was admitted or last computed.
    """

    request: EngineRequest
    text: Detokenizer
    sampler: Sampler = field(init=False, repr=False)
    tokens: list[int] = field(init=False)
    priority: Priority = field(init=False)
    table: BlockTable | None = None
    cached: int = 0
    block_keys: list[bytes] = field(default_factory=list)
    embeddings: Tensor | None = None
    generated: list[int] = field(default_factory=list)
    found_tokens: int = 0
    shadow: "Sequence | None" = None
    owner: "Sequence | None" = None
    logits: Tensor | None = None
    waiting_since: float = 0.0
    started_at: float = 0.0
    served_at: float = 0.0
    first_token_at: float = 0.0
    last_token_at: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = list(self.request.token_ids)
        self.priority = self.request.priority
        if self.request.params.audio_contrast and self.request.audio:
            self.shadow = Sequence(without_audio(self.request), self.text, owner=self)

    @property
    def lanes(self) -> "list[Sequence]":
        """What runs together: the sequence, and its shadow if it has one."""
        return [self] if self.shadow is None else [self, self.shadow]

    @property
    def is_ready(self) -> bool:
        """True when every lane has the logits of the next token."""
        return all(lane.logits is not None for lane in self.lanes)

    @property
    def prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self.request.token_ids)

    @property
    def most_tokens(self) -> int:
        """Tokens that prompt and longest answer have."""
        return self.prompt_tokens + self.request.params.max_output_tokens

    @property
    def rows_due(self) -> int:
        """Rows to compute before the next token: the last token, and whatever else is not in the cache."""
        return len(self.tokens) - self.cached

    @property
    def is_prefilling(self) -> bool:
        """True until the prompt, and after a preemption the answer so far, is in the cache."""
        return self.cached < self.prompt_tokens or self.rows_due > 1

    def accept(self, token_id: int, end_tokens: frozenset[int]) -> TokenEvent:
        """Add a generated token: the piece of the answer that it makes certain, with `finish` when it is the last."""
        now = monotonic()
        self.first_token_at = self.first_token_at or now
        self.last_token_at = now
        self.generated.append(token_id)
        for lane in self.lanes:
            lane.tokens.append(token_id)
            lane.logits = None
        text = self.text.push(token_id)
        reason = self._finish_reason(token_id, end_tokens)
        if reason is None:
            return TokenEvent((token_id,), text)
        return TokenEvent((token_id,), text + self.text.flush(), self._finish(reason))

    def _finish_reason(self, token_id: int, end_tokens: frozenset[int]) -> FinishReason | None:
        if token_id in end_tokens:
            return FinishReason.STOP
        if self.text.stopped:
            return FinishReason.STOP_STRING
        if len(self.generated) >= self.request.params.max_output_tokens:
            return FinishReason.LENGTH
        return None

    def _finish(self, reason: FinishReason) -> Finish:
        return Finish(
            reason,
            queue_seconds=self.started_at - self.request.arrival,
            prefill_seconds=self.first_token_at - self.started_at,
            decode_seconds=self.last_token_at - self.first_token_at,
            cached_tokens=self.found_tokens,
        )
