"""Who runs in the next step.

Requests are admitted in the order they came, interactive before bulk, as soon as a place is free and the KV cache has
blocks for what is known of them; nobody overtakes an equal, so nobody starves. A step decodes one token of every
sequence that is past its prompt and fills the rest of its rows with pieces of prompts, so a long prompt delays the
others by no more than one step; bulk prompts take few rows. Beside an interactive prompt no bulk request takes any,
unless it has had none for a while. When blocks run out, the youngest sequence, bulk before interactive, gives its own
back and computes them again later; what the prefix cache still has of them by then is not computed again.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

from services.decoder import metrics
from services.decoder.engine import Priority
from services.decoder.kv_cache import BLOCK_TOKENS, BlockTable, KVCache, blocks_of
from services.decoder.prefix import extend_keys
from services.decoder.sequence import Sequence

# A bulk request that has waited so long is the next, and counts as interactive from then on.
BULK_PATIENCE_SECONDS = 30.0
# A running bulk request that has had no rows for so long does not stand back in this step.
BULK_STANDS_BACK_SECONDS = 2.0
# So long after an interactive request another one is expected, and the steps of bulk prompts are short.
INTERACTIVE_EXPECTED_SECONDS = 30.0


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
    """Owns the queues, the running sequences and their blocks in the cache.

    Args:
        cache: where blocks are taken and given back.
        max_running: sequences that decode together.
        step_rows: most rows of a step, prompts included; at least `max_running`.
        bulk_step_rows: most rows of bulk prompts in a step while interactive requests come, so that the next one waits
            for a short step only.
    """

    def __init__(self, cache: KVCache, max_running: int, step_rows: int, bulk_step_rows: int | None = None) -> None:
        if step_rows < max_running:
            raise ValueError(f"a step of {step_rows} rows cannot decode {max_running} sequences")
        self._cache = cache
        self._max_running = max_running
        self._step_rows = step_rows
        self._bulk_step_rows = bulk_step_rows or step_rows
        self._interactive_until = -float("inf")
        self._queues: dict[Priority, deque[Sequence]] = {priority: deque() for priority in Priority}
        # The most senior first: interactive before bulk, then by admission.
        self.running: list[Sequence] = []

    @property
    def waiting(self) -> list[Sequence]:
        """Who waits, first come first."""
        return [sequence for queue in self._queues.values() for sequence in queue]

    @property
    def has_work(self) -> bool:
        """True while anybody waits or runs."""
        return bool(self.running or any(self._queues.values()))

    def add(self, sequence: Sequence) -> None:
        """Put a sequence at the end of its queue. How many may wait is the caller's to decide."""
        sequence.waiting_since = monotonic()
        if sequence.priority is Priority.INTERACTIVE:
            self._interactive_until = sequence.waiting_since + INTERACTIVE_EXPECTED_SECONDS
        self._queue(sequence).append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is, and free its blocks; nothing happens when it is out already."""
        if sequence in self.running:
            self._stop(sequence)
        elif sequence in self._queue(sequence):
            self._queue(sequence).remove(sequence)

    def take_expired(self, now: float) -> list[Sequence]:
        """Remove and return the sequences whose deadline has passed."""
        expired = [s for s in (*self.waiting, *self.running) if s.request.deadline <= now]
        for sequence in expired:
            self.remove(sequence)
        return expired

    def schedule(self) -> list[Chunk]:
        """Admit who fits, then lay out the next step; every sequence has one chunk at most."""
        self._make_room_to_decode()
        self._admit()
        return list(self._chunks())

    def computed(self, chunk: Chunk) -> None:
        """Note that the cache holds the chunk's keys and values now, and let others find its full blocks."""
        sequence = chunk.sequence
        assert sequence.table is not None
        sequence.served_at = monotonic()
        known = sequence.cached // BLOCK_TOKENS
        sequence.cached += chunk.rows
        full = sequence.cached // BLOCK_TOKENS
        if full > known:
            extend_keys(sequence.block_keys, sequence.tokens, sequence.request.audio)
            for index in range(known, full):
                self._cache.pool.remember(sequence.table.blocks[index], sequence.block_keys[index])

    def _queue(self, sequence: Sequence) -> deque[Sequence]:
        return self._queues[sequence.priority]

    def _make_room_to_decode(self) -> None:
        """A block for the next token of everybody who decodes; seniors take it from juniors."""
        for sequence in list(self.running):
            if sequence.table is None or sequence.is_prefilling:
                continue
            while not self._cache.extend(sequence.table, sequence.cached + 1):
                self._preempt(self.running[-1])
                if sequence.table is None:
                    break

    def _admit(self) -> None:
        while (sequence := self._next()) is not None:
            while not self._start(sequence):
                junior = self.running[-1] if self.running else sequence
                if junior.priority <= sequence.priority:
                    return
                self._preempt(junior)

    def _next(self) -> Sequence | None:
        """Whose turn it is."""
        bulk = self._queues[Priority.BULK]
        if bulk and monotonic() - bulk[0].waiting_since > BULK_PATIENCE_SECONDS:
            patient = bulk.popleft()
            patient.priority = Priority.INTERACTIVE
            self._queue(patient).appendleft(patient)
        return next((queue[0] for queue in self._queues.values() if queue), None)

    def _start(self, sequence: Sequence) -> bool:
        """Let the first of a queue run with its shadow, if there are places and blocks for both."""
        if len(self.running) + len(sequence.lanes) > self._max_running:
            return False
        for lane in sequence.lanes:
            lane.table = self._table_for(lane)
            if lane.table is None:
                self._free(sequence)
                return False
            lane.priority = sequence.priority
            lane.served_at = monotonic()
        self._queue(sequence).popleft()
        if not sequence.started_at:
            sequence.started_at = monotonic()
            sequence.found_tokens = sequence.cached
            metrics.count_prefix(sequence.prompt_tokens, sequence.found_tokens)
        place = sum(other.priority <= sequence.priority for other in self.running)
        self.running[place:place] = sequence.lanes
        return True

    def _table_for(self, sequence: Sequence) -> BlockTable | None:
        """Blocks for all tokens known: those that the prefix cache has, and new ones for the rest."""
        pool = self._cache.pool
        extend_keys(sequence.block_keys, sequence.tokens, sequence.request.audio)
        table = BlockTable(sequence.most_tokens, self._cache.device)
        # At least the last token is computed, or there would be no logits to choose the next one by.
        for key in sequence.block_keys[: (len(sequence.tokens) - 1) // BLOCK_TOKENS]:
            block = pool.find(key)
            if block is None:
                break
            pool.share(block)
            table.append([block])
        found = table.capacity_tokens
        # Whoever runs may need a block soon; without that reserve a newcomer would be preempted at once.
        missing = blocks_of(len(sequence.tokens)) - len(table.blocks)
        if missing + len(self.running) > pool.available or not self._cache.extend(table, len(sequence.tokens)):
            pool.release(table.blocks)
            return None
        sequence.cached = found
        return table

    def _preempt(self, lane: Sequence) -> None:
        metrics.PREEMPTIONS.inc()
        sequence = lane.owner or lane
        self._stop(sequence)
        self._queue(sequence).appendleft(sequence)

    def _stop(self, sequence: Sequence) -> None:
        for lane in sequence.lanes:
            self.running.remove(lane)
        self._free(sequence)

    def _free(self, sequence: Sequence) -> None:
        for lane in sequence.lanes:
            if lane.table is not None:
                self._cache.pool.release(lane.table.blocks)
            lane.table = lane.embeddings = lane.logits = None

    def _chunks(self) -> Iterator[Chunk]:
        now = monotonic()
        # One that has its logits waits for its shadow, or the shadow for it.
        due = [s for s in self.running if s.rows_due]
        if any(s.is_prefilling and s.priority is Priority.INTERACTIVE for s in due):
            due = [s for s in due if not _stands_back(s, now)]
        decoding = [s for s in due if not s.is_prefilling]
        yield from (Chunk(sequence, 1) for sequence in decoding)
        left = self._step_rows - len(decoding)
        bulk_left = self._bulk_step_rows if now < self._interactive_until else left
        for sequence in due:
            is_bulk = sequence.priority is Priority.BULK
            rows = min(sequence.rows_due, left, bulk_left if is_bulk else left)
            if sequence.is_prefilling and rows > 0:
                left -= rows
                bulk_left -= rows * is_bulk
                yield Chunk(sequence, rows)


def _stands_back(sequence: Sequence, now: float) -> bool:
    """True for one that leaves a step to an interactive prompt."""
    return sequence.priority is Priority.BULK and now - sequence.served_at < BULK_STANDS_BACK_SECONDS
