"""One request on its way through the torch engine."""

from dataclasses import dataclass, field
from time import monotonic

from torch import Tensor

from services.decoder.detokenizer import Detokenizer
from services.decoder.engine import EngineRequest, Finish, FinishReason, TokenEvent
from services.decoder.sampling import Sampler


@dataclass(eq=False)
class Sequence:
    """State of a request; only the engine's thread touches it once it was handed over.

    Attributes:
        request: what was asked.
        text: turns its tokens into text.
        sampler: chooses them; set when the engine takes the request.
        slots: its place in the KV cache, from admission to its end.
        cached: tokens of it whose keys and values are in the cache.
        embeddings: the prompt's, `(prompt tokens, hidden)`, from the first prefill chunk to the last.
        generated: tokens generated so far.
    """

    request: EngineRequest
    text: Detokenizer
    sampler: Sampler = field(init=False)
    slots: range | None = None
    cached: int = 0
    embeddings: Tensor | None = None
    generated: list[int] = field(default_factory=list)
    started_at: float = 0.0
    first_token_at: float = 0.0
    last_token_at: float = 0.0

    @property
    def prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self.request.token_ids)

    @property
    def most_tokens(self) -> int:
        """Slots that prompt and longest answer take."""
        return self.prompt_tokens + self.request.params.max_output_tokens

    @property
    def rows_due(self) -> int:
        """Rows to compute before the next token: what is left of the prompt, then one a step."""
        return max(1, self.prompt_tokens - self.cached)

    @property
    def is_prefilling(self) -> bool:
        """True until the whole prompt is in the cache."""
        return self.cached < self.prompt_tokens

    def accept(self, token_id: int, end_tokens: frozenset[int]) -> TokenEvent:
        """Add a generated token: the piece of the answer that it makes certain, with `finish` when it is the last."""
        now = monotonic()
        self.first_token_at = self.first_token_at or now
        self.last_token_at = now
        self.generated.append(token_id)
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
        )
