"""What bulk requests cost an interactive one: its first token while eight bulk requests run, and while nothing runs.

    python -m tests.load.bench_priority --threads 1

Questions about new 5 s clips come one after the other, in turns of both kinds, at random moments of the bulk
requests' steps. Beside the time on the clock the CPU time of the engine's thread is taken; with one thread that is
what a core of its own would take, however busy the machine is. Bulk requests have prompts of 30 s of audio and are
renewed as they end.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np

from services.common.generation import GenerationParams
from services.decoder.build import load_tokenizer
from services.decoder.engine import AudioSpan, EngineRequest, Priority
from services.decoder.torch_engine import TorchEngine, TorchEngineConfig
from services.qwen2_audio.prompt import AudioSlot, Message, PromptBuilder
from services.qwen2_audio.resolve import resolve_checkpoint
from services.qwen2_audio.weights import Checkpoint

BULK_REQUESTS = 8
CLIP_TOKENS, WINDOW_TOKENS = 125, 750  # 5 s and 30 s


class Asker:
    """Asks one engine about clips that it never heard."""

    def __init__(self, engine: TorchEngine, builder: PromptBuilder) -> None:
        self._engine = engine
        self._builder = builder
        self._seeds: Iterator[int] = itertools.count()

    def request(self, audio_tokens: int, output_tokens: int, priority: Priority) -> EngineRequest:
        """A question about a new clip."""
        prompt = self._builder.build([Message("user", [AudioSlot((audio_tokens,)), "What do you hear?"])])
        chance = np.random.default_rng(next(self._seeds))
        clip = chance.standard_normal((audio_tokens, self._engine.hidden_size)).astype(np.float32)
        audio = [AudioSpan(start, clip) for start, _ in prompt.audio_spans]
        params = GenerationParams(max_output_tokens=output_tokens)
        return EngineRequest(prompt.token_ids, audio, params, arrival=time.monotonic(), priority=priority)

    async def bulk(self) -> None:
        """Ask without end."""
        while True:
            async for _ in self._engine.generate(self.request(WINDOW_TOKENS, 64, Priority.BULK)):
                pass

    async def first_token(self) -> dict[str, float]:
        """Milliseconds to the first token of an interactive question, on the clock and of the engine's thread."""
        request = self.request(CLIP_TOKENS, 4, Priority.INTERACTIVE)
        assert self._engine._thread is not None
        clock = time.pthread_getcpuclockid(self._engine._thread.ident or 0)
        start, cpu_start = time.monotonic(), time.clock_gettime(clock)
        async with aclosing(self._engine.generate(request)) as events:
            await anext(events)
            told = {"ms": time.monotonic() - start, "cpu_ms": time.clock_gettime(clock) - cpu_start}
            async for _ in events:
                pass
        return {name: round(1000 * seconds, 1) for name, seconds in told.items()}


async def measure(asker: Asker, questions: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """First tokens without and with bulk requests."""
    samples: dict[str, list[dict[str, float]]] = {"unloaded": [], "loaded": []}
    await asker.first_token()
    for _ in range(rounds):
        samples["unloaded"] += [await asker.first_token() for _ in range(questions)]
        bulk = [asyncio.create_task(asker.bulk()) for _ in range(BULK_REQUESTS)]
        for _ in range(questions):
            await asyncio.sleep(random.uniform(0.5, 1.5))
            samples["loaded"].append(await asker.first_token())
        for task in bulk:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    return samples


def figures_of(samples: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Quantiles of both kinds, and how many times as long the loaded 95 % takes."""
    told: dict[str, Any] = {}
    for clock in ("cpu_ms", "ms"):
        p95 = {}
        for kind, taken in samples.items():
            values = [sample[clock] for sample in taken]
            p95[kind] = float(np.percentile(values, 95))
            told[f"{kind}_{clock}"] = {"p50": round(float(np.median(values)), 1), "p95": round(p95[kind], 1)}
        told[f"p95_ratio_{clock}"] = round(p95["loaded"] / p95["unloaded"], 2)
    return told


async def main() -> None:
    """Measure, print, and with --json write figures and samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="auricle-mini")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--questions", type=int, default=10, help="of each kind in a round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--bulk-step-rows", type=int, default=TorchEngineConfig.bulk_step_rows)
    parser.add_argument("--json", type=Path, help="file for figures and samples")
    given = parser.parse_args()
    checkpoint = Checkpoint(resolve_checkpoint(given.checkpoint))
    tokenizer = load_tokenizer(checkpoint)
    config = TorchEngineConfig(threads=given.threads, bulk_step_rows=given.bulk_step_rows)
    engine = TorchEngine(checkpoint, tokenizer, frozenset(), config)
    await engine.start()
    samples = await measure(Asker(engine, PromptBuilder(tokenizer, checkpoint.config)), given.questions, given.rounds)
    await engine.close()
    figures = figures_of(samples)
    print(json.dumps(figures))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({"figures": figures, "samples": samples}, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
