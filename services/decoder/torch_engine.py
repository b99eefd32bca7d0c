"""The built-in engine: continuous batching on torch, in one thread of its own.

Callers live on the event loop; model, scheduler and cache live in the engine's thread. They meet in two places only:
the inbox, a queue of small functions that the thread runs between two steps, and the outlets, which the event loop
fills with what a step brought. The CPU in fp32 is what it is tested on; bf16 and fp16 follow the same code, and CUDA
is untried.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from services.common import telemetry
from services.common.errors import AuricleError, InvalidArgument, Unavailable
from services.decoder import metrics
from services.decoder.core import EngineCore, Outcome
from services.decoder.detokenizer import Detokenizer, TokenBytes
from services.decoder.engine import RETRY_AFTER_SECONDS, Engine, EngineRequest, TokenEvent, queue_full
from services.decoder.kv_cache import BLOCK_TOKENS, KVCache, blocks_of
from services.decoder.linear import Weights
from services.decoder.model import Qwen2Model
from services.decoder.outlet import Outlet
from services.decoder.scheduler import Scheduler
from services.decoder.sequence import Sequence
from services.qwen2_audio.config import head_width, text_config
from services.qwen2_audio.weights import Checkpoint

_Command = Callable[[EngineCore], None]


@dataclass(frozen=True)
class TorchEngineConfig:
    """How much of the machine the engine takes.

    Attributes:
        device: "cpu" or "cuda".
        dtype: of activations and KV cache.
        weights: how the matrices are held.
        threads: CPU threads of a step.
        max_running: requests that decode together.
        max_waiting: further requests that may wait.
        kv_cache_tokens: tokens that the KV cache holds, shared by everybody who runs; rounded down to whole blocks.
        step_rows: most tokens computed in one step.
        bulk_step_rows: most of them that are of bulk prompts while interactive requests come.
        context_tokens: most tokens of prompt and answer together; None takes what model and cache allow.
        max_unread_tokens: how far a reader may fall behind.
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    weights: Weights = Weights.FULL
    threads: int = 2
    max_running: int = 16
    max_waiting: int = 64
    kv_cache_tokens: int = 16384
    step_rows: int = 256
    bulk_step_rows: int = 16
    context_tokens: int | None = None
    max_unread_tokens: int = 512


class TorchEngine(Engine):
    """Continuous batching over one checkpoint.

    Args:
        checkpoint: where the weights are; they are read by `start`.
        tokenizer: the checkpoint's.
        end_tokens: ids that end an answer.
        config: how much of the machine to take.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: PreTrainedTokenizerFast,
        end_tokens: frozenset[int],
        config: TorchEngineConfig,
    ) -> None:
        self._checkpoint = checkpoint
        self._text_config = text_config(checkpoint.config)
        self._token_bytes = TokenBytes(tokenizer)
        self._end_tokens = end_tokens
        self._config = config
        kv_cache_tokens = config.kv_cache_tokens // BLOCK_TOKENS * BLOCK_TOKENS
        limits = (self._text_config.max_position_embeddings, kv_cache_tokens, config.context_tokens)
        self._context_tokens = min(limit for limit in limits if limit is not None)
        self._inbox: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        self._open: dict[Sequence, Outlet] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._started: asyncio.Future[None]
        self._running = False

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    @property
    def hidden_size(self) -> int:
        return int(self._text_config.hidden_size)

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)
        self._thread.start()
        await self._started

    async def close(self) -> None:
        if self._thread is not None:
            self._inbox.put(None)
            await asyncio.to_thread(self._thread.join)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TokenEvent, None]:
        sequence = Sequence(request, Detokenizer(self._token_bytes, request.params.stop))
        outlet = self._admit(sequence)
        try:
            while True:
                event = await outlet.get()
                yield event
                if event.finish:
                    return
        finally:
            self._forget(sequence)

    def _admit(self, sequence: Sequence) -> Outlet:
        if not self._running:
            raise Unavailable("the decoder is not running", retry_after_seconds=RETRY_AFTER_SECONDS)
        limit = self._config.max_running + self._config.max_waiting
        if len(self._open) >= limit:
            raise queue_full(limit)
        self._check_lanes(sequence)
        outlet = self._open[sequence] = Outlet(self._config.max_unread_tokens)
        self._inbox.put(lambda core: core.add(sequence))
        return outlet

    def _check_lanes(self, sequence: Sequence) -> None:
        """A sequence that decodes twice needs room for both."""
        blocks = sum(blocks_of(lane.most_tokens) for lane in sequence.lanes)
        limit = self._config.kv_cache_tokens // BLOCK_TOKENS
        if blocks > limit or len(sequence.lanes) > self._config.max_running:
            needed, held = blocks * BLOCK_TOKENS, limit * BLOCK_TOKENS
            raise InvalidArgument(
                f"with audio_contrast the conversation is held twice, which takes {needed} tokens and 2 places; this "
                f"decoder has {held} and {self._config.max_running}",
                reason="KV_CACHE_TOO_SMALL",
                metadata={"needed_tokens": str(needed), "kv_cache_tokens": str(held)},
            )

    def _forget(self, sequence: Sequence) -> None:
        """Free the sequence's place, if it still has one."""
        if self._open.pop(sequence, None) is not None:
            self._inbox.put(lambda core: core.scheduler.remove(sequence))

    def _deliver(self, outcomes: list[Outcome]) -> None:
        for sequence, item in outcomes:
            outlet = self._open.get(sequence)
            if outlet is None:
                continue
            outlet.put(item)
            if outlet.closed:
                # Its reader may be slow to notice; its place is free now. Also ends an answer that nobody reads.
                self._forget(sequence)

    def _ready(self) -> None:
        self._running = True
        self._started.set_result(None)

    def _stopped(self, error: BaseException | None) -> None:
        """The thread has ended."""
        self._running = False
        if not self._started.done():
            self._started.set_exception(error or Unavailable("the decoder was closed"))
        reason: AuricleError = Unavailable("the decoder has stopped", retry_after_seconds=RETRY_AFTER_SECONDS)
        self._deliver([(sequence, reason) for sequence in list(self._open)])

    # What follows runs in the engine's thread.

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            torch.set_num_threads(self._config.threads)
            core = self._load()
            core.warm_up()
            self._loop.call_soon_threadsafe(self._ready)
            self._work(core)
        except BaseException as raised:  # the thread's last words; callers must not wait for it forever
            error = raised
            telemetry.logger().error("the decode thread ended", exc_info=raised)
        self._loop.call_soon_threadsafe(self._stopped, error)

    def _load(self) -> EngineCore:
        config, text = self._config, self._text_config
        tensors = self._checkpoint.text_tensors()
        model = Qwen2Model(text, tensors, self._context_tokens, config.dtype, config.device, config.weights)
        cache = KVCache(
            layers=text.num_hidden_layers,
            heads=model.kv_heads,
            head_width=head_width(text),
            capacity_tokens=config.kv_cache_tokens,
            dtype=config.dtype,
            device=config.device,
        )
        scheduler = Scheduler(cache, config.max_running, config.step_rows, config.bulk_step_rows)
        return EngineCore(model, cache, scheduler, self._end_tokens)

    def _work(self, core: EngineCore) -> None:
        while self._take_commands(core):
            outcomes = core.step()
            if outcomes:
                self._loop.call_soon_threadsafe(self._deliver, outcomes)
            scheduler, cache = core.scheduler, core.cache
            usage = cache.used_tokens / cache.capacity_tokens
            running = sum(sequence.owner is None for sequence in scheduler.running)
            metrics.publish_load(running, len(scheduler.waiting), usage)

    def _take_commands(self, core: EngineCore) -> bool:
        """Do what arrived since the last step; wait for something when there is nothing to compute. False ends it."""
        block = not core.scheduler.has_work
        while True:
            try:
                command = self._inbox.get(block=block)
            except queue.Empty:
                return True
            if command is None:
                return False
            command(core)
            block = False
