"""Our own engine as a side of the benchmark."""

import argparse
import asyncio
import time
from typing import Any

import numpy as np
import torch

from services.common.generation import GenerationParams
from services.decoder.build import load_tokenizer
from services.decoder.engine import AudioSpan, EngineRequest
from services.decoder.linear import Weights
from services.decoder.torch_engine import TorchEngine, TorchEngineConfig
from services.qwen2_audio.weights import Checkpoint
from tests.load.peers.protocol import claim_output, serve

WEIGHTS = {"fp32": Weights.FULL, "bf16": Weights.FULL, "fp16": Weights.FP16, "int8": Weights.INT8}


class EngineSide:
    """Operations of the protocol on a running engine."""

    def __init__(self, engine: TorchEngine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._loop = loop

    def decode(self, prompts: list[list[int]], tokens: int) -> dict[str, Any]:
        """Answer all prompts together."""
        params = GenerationParams(max_output_tokens=tokens)

        async def all_of_them() -> list[list[int]]:
            return await asyncio.gather(*(self._tokens(EngineRequest(prompt, (), params)) for prompt in prompts))

        start = time.perf_counter()
        answers = self._loop.run_until_complete(all_of_them())
        return {"seconds": time.perf_counter() - start, "answers": answers}

    def ask(self, token_ids: list[int], start: int, audio_tokens: int, embeddings: str, tokens: int) -> dict[str, Any]:
        """Answer a question about audio."""
        audio = [AudioSpan(start, np.load(embeddings)[start : start + audio_tokens])]
        request = EngineRequest(token_ids, audio, GenerationParams(max_output_tokens=tokens))
        arrivals: list[float] = []

        async def read() -> None:
            async for _ in self._engine.generate(request):
                arrivals.append(time.perf_counter())

        began = time.perf_counter()
        self._loop.run_until_complete(read())
        return {"first_token_seconds": arrivals[0] - began, "seconds": arrivals[-1] - began}

    async def _tokens(self, request: EngineRequest) -> list[int]:
        return [token async for event in self._engine.generate(request) for token in event.token_ids]


def main() -> None:
    """Serve until the input ends."""
    answer = claim_output()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--weights", choices=WEIGHTS, required=True)
    given = parser.parse_args()
    checkpoint = Checkpoint(given.checkpoint)
    config = TorchEngineConfig(
        threads=given.threads,
        weights=WEIGHTS[given.weights],
        dtype=torch.bfloat16 if given.weights == "bf16" else torch.float32,
    )
    loop = asyncio.new_event_loop()
    # No end tokens: every answer has the same length.
    engine = TorchEngine(checkpoint, load_tokenizer(checkpoint), frozenset(), config)
    loop.run_until_complete(engine.start())
    side = EngineSide(engine, loop)
    serve(answer, {"decode": side.decode, "ask": side.ask})
    loop.run_until_complete(engine.close())


if __name__ == "__main__":
    main()
