"""vLLM as a side of the benchmark: AsyncLLM as it comes, without anything of ours in between.

It is given embeddings; for whole questions, transformers' own audio tower hears the clips in this process.
"""

import argparse
import asyncio
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_SLEEP_WHEN_IDLE", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")

import numpy as np
import torch
from vllm import AsyncEngineArgs, SamplingParams
from vllm.inputs.engine import embeds_input, tokens_input
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

from tests.load.peers.protocol import claim_output, serve
from tests.prompts import clip
from tests.reference import Reference

CONTEXT_TOKENS = 2048
BLOCK_TOKENS = 32
KV_CACHE_TOKENS = 16384
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class VllmSide:
    """Operations of the protocol on a running AsyncLLM."""

    def __init__(
        self, llm: AsyncLLM, loop: asyncio.AbstractEventLoop, dtype: torch.dtype, ears: Reference | None
    ) -> None:
        self._llm = llm
        self._loop = loop
        self._dtype = dtype
        self._ears = ears
        self._names = 0

    def decode(self, prompts: list[list[int]], tokens: int) -> dict[str, Any]:
        """Answer all prompts together."""

        async def all_of_them() -> list[list[int]]:
            answers = await asyncio.gather(*(self._read(tokens_input(prompt), tokens) for prompt in prompts))
            return [token_ids for token_ids, _ in answers]

        start = time.perf_counter()
        answers = self._loop.run_until_complete(all_of_them())
        return {"seconds": time.perf_counter() - start, "answers": answers}

    def ask(self, token_ids: list[int], start: int, audio_tokens: int, embeddings: str, tokens: int) -> dict[str, Any]:
        """Answer a question about audio, given as prompt embeddings."""
        is_token = [not start <= index < start + audio_tokens for index in range(len(token_ids))]
        held = torch.from_numpy(np.load(embeddings)).to(self._dtype)
        prompt = embeds_input(held, prompt_token_ids=token_ids, is_token_ids=is_token)
        began = time.perf_counter()
        _, arrivals = self._loop.run_until_complete(self._read(prompt, tokens))
        return {"first_token_seconds": arrivals[0] - began, "seconds": arrivals[-1] - began}

    def converse(
        self, seeds: list[int], clip_seconds: float, question: str, callers: int, tokens: int
    ) -> dict[str, Any]:
        """Answer questions about clips, each caller one after the other."""

        async def answer(seed: int) -> dict[str, Any]:
            began = time.perf_counter()
            prompt = await asyncio.to_thread(self._hear, clip(clip_seconds, seed), question)
            token_ids, arrivals = await self._read(prompt, tokens, ignore_eos=False)
            return {"arrivals": [at - began for at in arrivals], "tokens": len(token_ids)}

        async def caller(number: int) -> list[dict[str, Any]]:
            return [await answer(seed) for seed in seeds[number::callers]]

        async def all_of_them() -> list[dict[str, Any]]:
            return [answer for share in await asyncio.gather(*map(caller, range(callers))) for answer in share]

        start = time.perf_counter()
        answers = self._loop.run_until_complete(all_of_them())
        return {"seconds": time.perf_counter() - start, "answers": answers}

    @torch.inference_mode()
    def _hear(self, samples: np.ndarray, question: str) -> Any:
        """The prompt of a question, its clip encoded."""
        assert self._ears is not None, "started without --ears"
        content = [{"type": "audio"}, {"type": "text", "text": question}]
        ids = torch.tensor(self._ears.prompt_ids([{"role": "user", "content": content}], [samples]))
        is_token = ids != self._ears.model.config.audio_token_id
        rows = self._ears.model.get_input_embeddings()(ids)
        rows[~is_token] = self._ears.embeddings(samples)
        return embeds_input(rows.to(self._dtype), prompt_token_ids=ids.tolist(), is_token_ids=is_token.tolist())

    async def _read(self, prompt: Any, tokens: int, ignore_eos: bool = True) -> tuple[list[int], list[float]]:
        self._names += 1
        sampling = SamplingParams(
            max_tokens=tokens,
            temperature=0.0,
            ignore_eos=ignore_eos,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        token_ids: list[int] = []
        arrivals = []
        async for output in self._llm.generate(prompt, sampling, str(self._names)):
            token_ids += output.outputs[0].token_ids
            arrivals.append(time.perf_counter())
        return token_ids, arrivals


def main() -> None:
    """Serve until the input ends."""
    answer = claim_output()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True, help="taken from OMP_NUM_THREADS")
    parser.add_argument("--model", required=True)
    parser.add_argument("--dtype", choices=DTYPES, required=True)
    parser.add_argument("--eager", action="store_true", help="without torch.compile, which takes minutes at the start")
    parser.add_argument("--ears", type=Path, help="checkpoint whose audio tower hears, for whole questions")
    given = parser.parse_args()
    arguments: dict[str, Any] = {
        "enable_prompt_embeds": True,
        "model": given.model,
        "dtype": str(DTYPES[given.dtype]).removeprefix("torch."),
        "max_model_len": CONTEXT_TOKENS,
        "max_num_seqs": 16,
        "block_size": BLOCK_TOKENS,
        "num_gpu_blocks_override": KV_CACHE_TOKENS // BLOCK_TOKENS + 1,
        "kv_cache_memory_bytes": 2**30,
        "enforce_eager": given.eager,
        "disable_log_stats": True,
    }
    loop = asyncio.new_event_loop()

    async def start() -> AsyncLLM:
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))

    llm = loop.run_until_complete(start())
    ears = Reference(given.ears) if given.ears else None
    side = VllmSide(llm, loop, DTYPES[given.dtype], ears)
    serve(answer, {"decode": side.decode, "ask": side.ask, "converse": side.converse})
    llm.shutdown(5.0)


if __name__ == "__main__":
    main()
