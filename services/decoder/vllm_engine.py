"""The engine for large models: vLLM's AsyncLLM behind our interface.

vLLM schedules, computes and caches, in processes of its own; prompts with audio go to it as prompt embeddings. What
callers notice stays here: places and queue, deadlines, slow readers, stop strings, errors and metrics. One task for
each request carries vLLM's outputs into an outlet, and ends vLLM's work on it when the request ends in any way.

Needs vLLM, which is no dependency of the platform: see requirements-vllm.txt.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

# Read when vLLM is loaded. Its core and workers are new processes, for gRPC's threads do not survive a fork.
os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("VLLM_SLEEP_WHEN_IDLE", "1")

import torch
from transformers import PreTrainedTokenizerFast
from vllm import AsyncEngineArgs
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from services.common import telemetry
from services.common.errors import AuricleError, DeadlineExceeded, Internal, Unavailable
from services.decoder import metrics
from services.decoder.detokenizer import TokenBytes
from services.decoder.engine import RETRY_AFTER_SECONDS, Engine, EngineRequest, TokenEvent, queue_full
from services.decoder.outlet import Outlet
from services.decoder.vllm_metrics import LoadPublisher
from services.decoder.vllm_request import Answer, prompt_of, refuse_unsupported, sampling_of
from services.decoder.vllm_settings import check_arguments
from services.qwen2_audio.config import head_width, text_config
from services.qwen2_audio.export import export_decoder
from services.qwen2_audio.weights import Checkpoint

# Both vLLM's CPU and CUDA kernels take it.
BLOCK_TOKENS = 32
SHUTDOWN_SECONDS = 5.0


@dataclass(frozen=True)
class VllmEngineConfig:
    """How much of the machine vLLM takes.

    Attributes:
        exports: where the language half is kept as a plain Qwen2 checkpoint.
        dtype: to compute in.
        threads: CPU threads of a worker.
        max_running: requests that decode together.
        max_waiting: further requests that may wait.
        kv_cache_tokens: tokens that the KV cache holds; rounded down to whole blocks.
        step_rows: most tokens computed in one step.
        context_tokens: most tokens of prompt and answer together; None takes what model and cache allow.
        max_unread_tokens: how far a reader may fall behind.
        arguments: further ones of vLLM's AsyncEngineArgs.
    """

    exports: Path
    dtype: torch.dtype = torch.float32
    threads: int = 2
    max_running: int = 16
    max_waiting: int = 64
    kv_cache_tokens: int = 16384
    step_rows: int = 256
    context_tokens: int | None = None
    max_unread_tokens: int = 512
    arguments: Mapping[str, Any] = field(default_factory=dict)


class VllmEngine(Engine):
    """vLLM over the language half of one checkpoint.

    Args:
        checkpoint: where the weights are; they are exported and read by `start`.
        tokenizer: the checkpoint's.
        end_tokens: ids that end an answer.
        config: how much of the machine to take.

    Raises:
        ValueError: an argument for vLLM that it does not know.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: PreTrainedTokenizerFast,
        end_tokens: frozenset[int],
        config: VllmEngineConfig,
    ) -> None:
        check_arguments(config.arguments, {known.name for known in fields(AsyncEngineArgs)})
        self._checkpoint = checkpoint
        self._token_bytes = TokenBytes(tokenizer)
        self._end_tokens = end_tokens
        self._config = config
        text = text_config(checkpoint.config)
        self._hidden_size = int(text.hidden_size)
        limits = (text.max_position_embeddings, self._blocks * BLOCK_TOKENS, config.context_tokens)
        self._context_tokens = min(limit for limit in limits if limit is not None)
        self._llm: AsyncLLM | None = None
        self._open: dict[asyncio.Task[None], Outlet] = {}
        self._names = itertools.count()

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    @property
    def hidden_size(self) -> int:
        return self._hidden_size

    @property
    def _blocks(self) -> int:
        return self._config.kv_cache_tokens // BLOCK_TOKENS

    async def start(self) -> None:
        self._llm = await asyncio.to_thread(self._load)

    async def close(self) -> None:
        llm, self._llm = self._llm, None
        for task, outlet in list(self._open.items()):
            outlet.put(_stopped())
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        if llm is not None:
            await asyncio.to_thread(llm.shutdown, SHUTDOWN_SECONDS)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TokenEvent, None]:
        outlet, task = self._admit(request)
        try:
            while True:
                event = await outlet.get()
                yield event
                if event.finish:
                    return
        finally:
            task.cancel()

    def _admit(self, request: EngineRequest) -> tuple[Outlet, asyncio.Task[None]]:
        if self._llm is None:
            raise Unavailable("the decoder is not running", retry_after_seconds=RETRY_AFTER_SECONDS)
        refuse_unsupported(request)
        limit = self._config.max_running + self._config.max_waiting
        if len(self._open) >= limit:
            raise queue_full(limit)
        outlet = Outlet(self._config.max_unread_tokens)
        task = asyncio.create_task(self._carry(self._llm, request, outlet))
        self._open[task] = outlet
        task.add_done_callback(self._forget)
        return outlet, task

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._open[task]
        if not self._open:
            # vLLM reports with its steps, and takes none for what is aborted.
            metrics.publish_load(0, 0, 0.0)

    async def _carry(self, llm: AsyncLLM, request: EngineRequest, outlet: Outlet) -> None:
        """Put what vLLM generates into the outlet, until the answer or its reader ends."""
        try:
            async with asyncio.timeout_at(None if request.deadline == float("inf") else request.deadline):
                await self._generate(llm, request, outlet)
        except TimeoutError:
            outlet.put(DeadlineExceeded("the deadline passed before the answer was complete"))
        except AuricleError as error:
            outlet.put(error)
        except EngineDeadError as error:
            telemetry.logger().error("vLLM has ended", exc_info=error)
            self._llm = None
            outlet.put(_stopped())
        except Exception as error:
            telemetry.logger().error("vLLM failed a request", exc_info=error)
            outlet.put(Internal(f"vLLM failed: {error}"))

    async def _generate(self, llm: AsyncLLM, request: EngineRequest, outlet: Outlet) -> None:
        prompt = await asyncio.to_thread(prompt_of, request, self._hidden_size, self._config.dtype)
        sampling, answer = sampling_of(request.params, self._end_tokens), Answer(request, self._token_bytes)
        name = str(next(self._names))
        async with aclosing(llm.generate(prompt, sampling, name, priority=request.priority)) as outputs:
            async for output in outputs:
                outlet.put(answer.take(output))
                if outlet.closed:
                    return

    def _kv_cache_bytes(self, blocks: int) -> int:
        text = text_config(self._checkpoint.config)
        width = (text.num_key_value_heads or text.num_attention_heads) * head_width(text)
        return 2 * text.num_hidden_layers * width * blocks * BLOCK_TOKENS * self._config.dtype.itemsize

    def _load(self) -> AsyncLLM:
        config = self._config
        # vLLM takes the number of its CPU threads from the environment of its processes.
        os.environ.setdefault("OMP_NUM_THREADS", str(config.threads))
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        given: dict[str, Any] = {
            "block_size": BLOCK_TOKENS,
            "structured_outputs_config": {"backend": "guidance"},
            **config.arguments,
            "model": str(export_decoder(self._checkpoint, config.exports)),
            "dtype": str(config.dtype).removeprefix("torch."),
            "max_model_len": self._context_tokens,
            "max_num_seqs": config.max_running,
            "max_num_batched_tokens": config.step_rows,
            # One block of vLLM's holds nothing.
            "num_gpu_blocks_override": self._blocks + 1,
            # Told, it does not first measure what memory is free.
            "kv_cache_memory_bytes": self._kv_cache_bytes(self._blocks + 1),
            "enable_prompt_embeds": True,
            "scheduling_policy": "priority",
            "disable_log_stats": True,
        }
        publisher = LoadPublisher.factory(lambda: len(self._open))
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**given), stat_loggers=[publisher])


def _stopped() -> Unavailable:
    return Unavailable("the decoder has stopped", retry_after_seconds=RETRY_AFTER_SECONDS)
