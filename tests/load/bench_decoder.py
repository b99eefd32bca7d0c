"""Decoding speed of the engine against transformers' generate, on the same weights and threads.

    python -m tests.load.bench_decoder

Prompts are questions of text, of equal length, so that transformers can batch them without padding; both generate just
the same number of tokens. The first-token time is that of a question about a 5 s clip, and of another question about
the same clip, whose prompt differs in its last words only.
"""

import argparse
import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as services.decoder does; read when torch is loaded

import numpy as np
import torch

from services.common.generation import GenerationParams
from services.decoder.build import load_tokenizer
from services.decoder.engine import AudioSpan, EngineRequest
from services.decoder.torch_engine import TorchEngine, TorchEngineConfig
from services.qwen2_audio.prompt import AudioSlot, Message, PromptBuilder
from services.qwen2_audio.resolve import resolve_checkpoint
from services.qwen2_audio.weights import Checkpoint
from tests.reference import Reference

CLIP_TOKENS = 125  # 5 s


@dataclass(frozen=True)
class Speed:
    """Tokens per second over all requests of a batch, best of several rounds."""

    batch: int
    engine_tokens_per_second: float
    transformers_tokens_per_second: float


QUESTIONS = ("Transcribe the speech.", "What sound is this?")


def first_token_request(prompts: PromptBuilder, hidden_size: int, seed: int, question: str) -> EngineRequest:
    """A question about the clip of that seed."""
    prompt = prompts.build([Message("user", [AudioSlot((CLIP_TOKENS,)), question])])
    embeddings = np.random.default_rng(seed).standard_normal((CLIP_TOKENS, hidden_size)).astype(np.float32)
    audio = [AudioSpan(start, embeddings) for start, _ in prompt.audio_spans]
    return EngineRequest(prompt.token_ids, audio, GenerationParams(max_output_tokens=1), arrival=time.monotonic())


async def drain(engine: TorchEngine, request: EngineRequest) -> int:
    """Tokens generated."""
    return sum([len(event.token_ids) async for event in engine.generate(request)])


async def engine_speed(engine: TorchEngine, token_ids: list[int], batch: int, tokens: int) -> float:
    """Tokens per second of a batch of one prompt."""
    params = GenerationParams(max_output_tokens=tokens)
    start = time.perf_counter()
    counts = await asyncio.gather(*(drain(engine, EngineRequest(token_ids, (), params)) for _ in range(batch)))
    return sum(counts) / (time.perf_counter() - start)


@torch.inference_mode()
def transformers_speed(model: Any, token_ids: list[int], batch: int, tokens: int) -> float:
    """The same by generate()."""
    ids = torch.tensor([token_ids] * batch)
    start = time.perf_counter()
    model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens)
    return batch * tokens / (time.perf_counter() - start)


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="auricle-mini")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the raw figures")
    given = parser.parse_args()

    torch.set_num_threads(given.threads)
    checkpoint = Checkpoint(resolve_checkpoint(given.checkpoint))
    tokenizer = load_tokenizer(checkpoint)
    prompts = PromptBuilder(tokenizer, checkpoint.config)
    token_ids = prompts.build([Message("user", ["Tell me a long story about a street in the rain."])]).token_ids
    model = Reference(checkpoint.path).model
    # No end tokens: every answer has the same length.
    engine = TorchEngine(checkpoint, tokenizer, frozenset(), TorchEngineConfig(threads=given.threads))
    await engine.start()
    figures: list[dict[str, Any]] = []
    for batch in given.batches:
        ours, theirs = [], []
        for _ in range(given.rounds):
            ours.append(await engine_speed(engine, token_ids, batch, given.tokens))
            theirs.append(transformers_speed(model, token_ids, batch, given.tokens))
        figures.append(asdict(Speed(batch, round(max(ours), 1), round(max(theirs), 1))))
        print(json.dumps(figures[-1]), flush=True)
    for ordinal, question in zip(("first", "second"), QUESTIONS, strict=True):
        times = []
        for seed in range(10):
            request = first_token_request(prompts, engine.hidden_size, seed, question)
            await drain(engine, request)
            times.append((time.monotonic() - request.arrival) * 1000)
        figures.append({f"{ordinal}_question_first_token_p50_ms": round(sorted(times)[5], 1)})
        print(json.dumps(figures[-1]))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main())
