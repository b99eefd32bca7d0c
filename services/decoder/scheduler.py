"""Who runs in the next step.

Requests are admitted in the order they came, as soon as a place is free and the KV cache has room for prompt and
longest answer; nobody overtakes, so nobody starves. A step decodes one token of every sequence that is past its
prompt and fills the rest of its rows with pieces of prompts, so a long prompt delays the others by no more than one
step.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

from services.decoder.kv_cache import KVCache
from services.decoder.sequence import Sequence


@dataclass(frozen=True)
class Chunk:
    """The next `rows` tokens of a sequence."""

    sequence: Sequence
    rows: int

    @property
    def completes(self) -> bool:
        """True when a token of the answer follows from the chunk."""
        return self.rows == self.sequence.rows_due


class Scheduler:
    """Owns the queue, the running sequences and their slots in the cache.

    Args:
        cache: where slots are reserved at admission and released at the end.
        max_running: sequences that decode together.
        step_rows: most rows of a step, prompts included; at least `max_running`.
    """

    def __init__(self, cache: KVCache, max_running: int, step_rows: int) -> None:
        if step_rows < max_running:
            raise ValueError(f"a step of {step_rows} rows cannot decode {max_running} sequences")
        self._cache = cache
        self._max_running = max_running
        self._step_rows = step_rows
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def has_work(self) -> bool:
        """True while anybody waits or runs."""
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        """Put a sequence at the end of the queue. How many may wait is the caller's to decide."""
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is, and free its slots; nothing happens when it is out already."""
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        elif sequence in self.running:
            self.running.remove(sequence)
        if sequence.slots is not None:
            self._cache.release(sequence.slots)
            sequence.slots = None
        sequence.embeddings = None

    def take_expired(self, now: float) -> list[Sequence]:
        """Remove and return the sequences whose deadline has passed."""
        expired = [s for s in (*self.waiting, *self.running) if s.request.deadline <= now]
        for sequence in expired:
            self.remove(sequence)
        return expired

    def schedule(self) -> list[Chunk]:
        """Admit who fits, then lay out the next step; every sequence has one chunk at most."""
        self._admit()
        return list(self._chunks())

    def _admit(self) -> None:
        while self.waiting and len(self.running) < self._max_running:
            slots = self._cache.reserve(self.waiting[0].most_tokens)
            if slots is None:
                return
            sequence = self.waiting.popleft()
            sequence.slots = slots
            sequence.started_at = monotonic()
            self.running.append(sequence)

    def _chunks(self) -> Iterator[Chunk]:
        decoding = [s for s in self.running if not s.is_prefilling]
        yield from (Chunk(sequence, 1) for sequence in decoding)
        left = self._step_rows - len(decoding)
        for sequence in self.running:
            if sequence.is_prefilling and left > 0:
                rows = min(left, sequence.rows_due)
                left -= rows
                yield Chunk(sequence, rows)
