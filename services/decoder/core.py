"""The torch engine without its thread: one call, one step of all running sequences."""

from collections.abc import Iterable
from time import monotonic

import torch
from torch import Tensor

from services.common import telemetry
from services.common.errors import AuricleError, DeadlineExceeded, Internal, InvalidArgument
from services.decoder import metrics
from services.decoder.contrast import contrasted
from services.decoder.engine import TokenEvent
from services.decoder.kv_cache import BlockTable, KVCache
from services.decoder.model import Qwen2Model, Span
from services.decoder.sampling import Sampler, sample
from services.decoder.scheduler import Chunk, Scheduler
from services.decoder.sequence import Sequence

Outcome = tuple[Sequence, TokenEvent | AuricleError]


class EngineCore:
    """Model, cache and scheduler, used by one thread.

    Args:
        model: computes.
        cache: holds keys and values.
        scheduler: chooses.
        end_tokens: ids that end an answer.
    """

    def __init__(self, model: Qwen2Model, cache: KVCache, scheduler: Scheduler, end_tokens: Iterable[int]) -> None:
        self.model = model
        self.cache = cache
        self.scheduler = scheduler
        self._end_tokens = frozenset(end_tokens)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        sequence.sampler = Sampler(sequence.request.params, sequence.request.token_ids, self.model.device)
        self.scheduler.add(sequence)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Touch every weight and start torch's threads, so that the first request does not pay for it."""
        table = BlockTable(1, self.cache.device)
        self.cache.extend(table, 1)
        self.model.forward(self.model.embed([0]), [Span(1, 0, table)], [0], self.cache)
        self.cache.pool.release(table.blocks)

    @torch.inference_mode()
    def step(self) -> list[Outcome]:
        """Compute the next token of whoever is due; sequences that end have left when this returns.

        A fault in the computation ends every sequence of the step with Internal, and the engine goes on.
        """
        outcomes: list[Outcome] = [
            (sequence, DeadlineExceeded("the deadline passed before the answer was complete"))
            for sequence in self.scheduler.take_expired(monotonic())
        ]
        chunks = self.scheduler.schedule()
        if not chunks:
            return outcomes
        try:
            outcomes += self._advance(chunks)
        except Exception as error:
            telemetry.logger().error("a decode step failed", sequences=len(chunks), exc_info=error)
            for sequence in dict.fromkeys(_answering(chunk.sequence) for chunk in chunks):
                self.scheduler.remove(sequence)
                outcomes.append((sequence, Internal(f"a decode step failed: {error}")))
        return outcomes

    def _advance(self, chunks: list[Chunk]) -> list[Outcome]:
        due = [chunk.sequence for chunk in chunks if chunk.completes]
        logits = self._forward(chunks)
        for chunk in chunks:
            self.scheduler.computed(chunk)
        due, logits = _ready(due, logits)
        refused = {
            sequence: error for sequence, row in zip(due, logits, strict=True) if (error := _constrain(sequence, row))
        }
        token_ids = sample(logits, [sequence.sampler for sequence in due])
        chosen = zip(due, token_ids, strict=True)
        return [self._accept(sequence, token_id, refused.get(sequence)) for sequence, token_id in chosen]

    def _accept(self, sequence: Sequence, token_id: int | None, refused: AuricleError | None) -> Outcome:
        for lane in sequence.lanes:
            lane.embeddings = None
        if refused is not None or token_id is None:
            self.scheduler.remove(sequence)
            message = "the prompt drives the model to values that are not finite"
            return sequence, refused or InvalidArgument(message, reason="OUTPUT_NOT_FINITE")
        previous_token_at = sequence.last_token_at
        event = sequence.accept(token_id, self._end_tokens)
        if previous_token_at:
            metrics.count_next_token(sequence.last_token_at - previous_token_at)
        else:
            metrics.count_first_token(sequence.prompt_tokens, sequence.first_token_at - sequence.request.arrival)
        if event.finish:
            metrics.count_finish(event.finish.reason)
            self.scheduler.remove(sequence)
        elif sequence.request.grammar is not None:
            sequence.request.grammar.accept(token_id)
        return sequence, event

    def _forward(self, chunks: list[Chunk]) -> Tensor:
        """Logits `(chunks that complete, vocabulary)`."""
        spans, logit_rows, rows = [], [], 0
        for chunk in chunks:
            table = chunk.sequence.table
            assert table is not None, "a scheduled sequence has its blocks"
            spans.append(Span(chunk.rows, chunk.sequence.cached, table))
            rows += chunk.rows
            if chunk.completes:
                logit_rows.append(rows - 1)
        return self.model.forward(self._embeddings(chunks), spans, logit_rows, self.cache)

    def _embeddings(self, chunks: list[Chunk]) -> Tensor:
        """`(rows, hidden)`: the scheduler lays decoding sequences first, so their tokens are looked up together."""
        last = [chunk.sequence.tokens[-1] for chunk in chunks if not chunk.sequence.is_prefilling]
        parts = [self.model.embed(last)] if last else []
        for chunk in chunks:
            sequence = chunk.sequence
            if sequence.is_prefilling:
                if sequence.embeddings is None:
                    sequence.embeddings = self._embeddings_of(sequence)
                parts.append(sequence.embeddings[sequence.cached : sequence.cached + chunk.rows])
        return torch.cat(parts)

    def _embeddings_of(self, sequence: Sequence) -> Tensor:
        """`(tokens, hidden)`, with those of audio in the places of their placeholders."""
        embeddings = self.model.embed(sequence.tokens)
        for span in sequence.request.audio:
            end = span.start + len(span.embeddings)
            embeddings[span.start : end] = torch.tensor(span.embeddings)
        return embeddings


def _answering(lane: Sequence) -> Sequence:
    """The sequence whose answer a lane is for."""
    return lane.owner or lane


def _ready(due: list[Sequence], logits: Tensor) -> tuple[list[Sequence], Tensor]:
    """Who has all that its next token follows from, and the logits `(sequences, vocabulary)` to choose it by.

    Those of a sequence with a shadow are held until both have been computed.
    """
    if all(lane.owner is None and lane.shadow is None for lane in due):
        return due, logits
    for lane, row in zip(due, logits, strict=True):
        lane.logits = row
    ready = [sequence for sequence in dict.fromkeys(map(_answering, due)) if sequence.is_ready]
    return ready, torch.stack([_next_logits(sequence) for sequence in ready]) if ready else logits[:0]


def _constrain(sequence: Sequence, logits: Tensor) -> AuricleError | None:
    """Rule out, in place, what the answer's form forbids; the error when there is no saying."""
    if sequence.request.grammar is None:
        return None
    try:
        logits.masked_fill_(sequence.request.grammar.forbidden(len(logits)).to(logits.device), -torch.inf)
    except AuricleError as error:
        return error
    return None


def _next_logits(sequence: Sequence) -> Tensor:
    heard = sequence.logits
    assert heard is not None
    if sequence.shadow is None:
        return heard
    assert sequence.shadow.logits is not None
    return contrasted(heard, sequence.shadow.logits, sequence.request.params.audio_contrast)
