"""One decoder: continuous batching with chunked prefill, as `services/decoder/scheduler.py` lays out its steps.

Steps in which nobody's prompt is computed are alike, so they are simulated together up to the next answer that ends;
a request that comes meanwhile ends them at the next step. Blocks that sequences share by the prefix cache are not
modelled: every request is about a recording of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from simpy import Environment, Event

from services.planning.chart import Limits
from services.planning.processor import Processor, Task
from services.planning.profile import DecoderTimes

BLOCK_TOKENS = 16
BULK_PATIENCE_SECONDS = 30.0
BULK_STANDS_BACK_SECONDS = 2.0
INTERACTIVE_EXPECTED_SECONDS = 30.0


class Sequence:
    """A request in the decoder.

    Attributes:
        first, done: come with its first and its last token.
        cached: tokens whose keys and values are in the cache.
        generated: tokens of the answer so far.
        blocks: of the KV cache that it holds.
        since, served: when it came, and when it was admitted or last computed.
    """

    __slots__ = ("answer", "blocks", "bulk", "cached", "done", "first", "generated", "prompt", "served", "since")

    def __init__(self, env: Environment, prompt: int, answer: int, bulk: bool) -> None:
        self.prompt, self.answer, self.bulk = prompt, answer, bulk
        self.since = self.served = env.now
        self.first: Event = env.event()
        self.done: Event = env.event()
        self.cached = self.generated = self.blocks = 0

    @property
    def due(self) -> int:
        """Tokens to compute before the next one follows."""
        return self.prompt + self.generated - self.cached

    @property
    def is_prefilling(self) -> bool:
        """True until its prompt, and after a preemption its answer so far, is in the cache."""
        return self.cached < self.prompt or self.due > 1


class DecoderReplica:
    """Queues, running sequences and their blocks. `preemptions` counts those who gave their place back."""

    def __init__(
        self,
        env: Environment,
        processor: Processor,
        threads: float,
        times: DecoderTimes,
        limits: Limits,
        noise: Callable[[float], float],
    ) -> None:
        self._env, self._processor, self._threads = env, processor, threads
        self._times, self._limits, self._noise = times, limits, noise
        self._blocks = limits.kv_cache_tokens // BLOCK_TOKENS
        self._queues: tuple[deque[Sequence], deque[Sequence]] = (deque(), deque())
        self._running: list[Sequence] = []
        self._task: Task | None = None
        self._step_seconds = 0.0
        self._interactive_until = -float("inf")
        self._arrived: Event = env.event()
        self.preemptions = 0
        env.process(self._work())

    @property
    def calls(self) -> int:
        """Requests that are here."""
        return len(self._running) + sum(map(len, self._queues))

    @property
    def kv_usage(self) -> float:
        """Part of the KV cache in use."""
        return 1 - self._free / self._blocks

    @property
    def _free(self) -> int:
        return self._blocks - sum(sequence.blocks for sequence in self._running)

    def generate(self, prompt_tokens: int, answer_tokens: int, bulk: bool) -> Sequence | None:
        """Begin an answer; None when there is no room, or never will be in this KV cache."""
        no_place = self.calls >= self._limits.running + self._limits.waiting
        if no_place or _blocks_of(prompt_tokens + answer_tokens) > self._blocks:
            return None
        sequence = Sequence(self._env, prompt_tokens, answer_tokens, bulk)
        self._queues[bulk].append(sequence)
        if not bulk:
            self._interactive_until = self._env.now + INTERACTIVE_EXPECTED_SECONDS
        if not self._arrived.triggered:
            self._arrived.succeed()
        if len(self._running) < self._limits.running or (self._running[-1].bulk and not bulk):
            self._end_after_this_step()
        return sequence

    def _work(self) -> Generator[Any, Any, None]:
        while True:
            if not self.calls:
                self._arrived = self._env.event()
                yield self._arrived
            self._make_room()
            self._admit()
            due = self._due()
            decoding = [s for s in due if not s.is_prefilling]
            chunks = self._chunks([s for s in due if s.is_prefilling], len(decoding))
            steps = 1 if chunks else self._alike(decoding)
            # Contexts grow by a token each step: those of the middle one stand for all.
            context = sum(s.cached + 1 for s in decoding) + len(decoding) * (steps - 1) / 2
            rows = sum(rows for _, rows in chunks)
            seconds = self._times.seconds(len(decoding), rows, context) * self._noise(self._times.spread)
            self._step_seconds = max(seconds, 1e-9)
            self._task = self._processor.run(self._step_seconds * steps, self._threads)
            yield self._task.done
            steps = max(1, round(self._task.work / self._step_seconds))
            self._task = None
            self._advance(decoding, chunks, steps)

    def _end_after_this_step(self) -> None:
        if self._task is not None:
            steps = int(self._processor.progress(self._task) / self._step_seconds) + 1
            if steps * self._step_seconds < self._task.work:
                self._processor.shorten(self._task, steps * self._step_seconds)

    def _alike(self, decoding: list[Sequence]) -> int:
        """Steps until an answer ends or blocks may run out."""
        until_end = min(s.answer - s.generated for s in decoding)
        return max(1, min(until_end, self._free // len(decoding) * BLOCK_TOKENS))

    def _make_room(self) -> None:
        """A block for the next token of everybody who decodes; the last to be admitted gives way."""
        free = self._free
        for sequence in [s for s in self._running if not s.is_prefilling]:
            missing = max(0, _blocks_of(sequence.cached + 1) - sequence.blocks)
            while missing > free and sequence in self._running:
                self._preempt()
                free = self._free
            if sequence in self._running:
                sequence.blocks += missing
                free -= missing

    def _preempt(self) -> None:
        last = self._running.pop()
        last.cached = last.blocks = 0
        self._queues[last.bulk].appendleft(last)
        self.preemptions += 1

    def _admit(self) -> None:
        while (sequence := self._next()) is not None:
            needed = _blocks_of(sequence.prompt + sequence.generated)
            while not (len(self._running) < self._limits.running and self._fits(needed)):
                if not self._running or sequence.bulk or not self._running[-1].bulk:
                    return
                self._preempt()
            self._queues[sequence.bulk].popleft()
            sequence.blocks = needed
            sequence.served = self._env.now
            place = sum(other.bulk <= sequence.bulk for other in self._running)
            self._running.insert(place, sequence)

    def _fits(self, blocks: int) -> bool:
        # Who runs may need a block soon.
        return blocks + len(self._running) <= self._free

    def _next(self) -> Sequence | None:
        interactive, bulk = self._queues
        if bulk and self._env.now - bulk[0].since > BULK_PATIENCE_SECONDS:
            patient = bulk.popleft()
            patient.bulk = False
            interactive.appendleft(patient)
        return interactive[0] if interactive else bulk[0] if bulk else None

    def _due(self) -> list[Sequence]:
        """Who takes part in the next step: bulk stands back for the prompt of an interactive request."""
        if not any(s.is_prefilling and not s.bulk for s in self._running):
            return self._running
        now = self._env.now
        return [s for s in self._running if not s.bulk or now - s.served >= BULK_STANDS_BACK_SECONDS]

    def _chunks(self, prefilling: list[Sequence], decoding: int) -> list[tuple[Sequence, int]]:
        """Pieces of prompts that fill the rest of a step."""
        left = self._limits.step_tokens - decoding
        bulk_left = self._limits.bulk_step_tokens if self._env.now < self._interactive_until else left
        chunks = []
        for sequence in prefilling:
            rows = min(sequence.due, left, bulk_left if sequence.bulk else left)
            left -= rows
            bulk_left -= rows * sequence.bulk
            if rows > 0:
                chunks.append((sequence, rows))
        return chunks

    def _advance(self, decoding: list[Sequence], chunks: list[tuple[Sequence, int]], steps: int) -> None:
        for sequence in decoding:
            self._accept(sequence, steps, steps)
        for sequence, rows in chunks:
            self._accept(sequence, rows, int(rows == sequence.due))

    def _accept(self, sequence: Sequence, rows: int, tokens: int) -> None:
        sequence.served = self._env.now
        sequence.cached += rows
        sequence.generated += tokens
        sequence.blocks = max(sequence.blocks, _blocks_of(sequence.cached))
        if sequence.generated and not sequence.first.triggered:
            sequence.first.succeed(self._env.now)
        if sequence.generated >= sequence.answer:
            self._running.remove(sequence)
            sequence.done.succeed()


def _blocks_of(tokens: int) -> int:
    return -(-tokens // BLOCK_TOKENS)
