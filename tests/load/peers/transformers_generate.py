"""transformers' generate() as a side of the benchmark: fp32, prompts of one length in one batch."""

import argparse
import time
from typing import Any

import numpy as np
import torch
from transformers import Qwen2ForCausalLM

from tests.load.peers.protocol import claim_output, serve


class GenerateSide:
    """Operations of the protocol on a model of transformers."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @torch.inference_mode()
    def decode(self, prompts: list[list[int]], tokens: int) -> dict[str, Any]:
        """Answer all prompts together."""
        ids = torch.tensor(prompts)
        start = time.perf_counter()
        whole = self._generate(tokens, input_ids=ids, attention_mask=torch.ones_like(ids))
        return {"seconds": time.perf_counter() - start, "answers": whole[:, ids.shape[1] :].tolist()}

    @torch.inference_mode()
    def ask(self, token_ids: list[int], start: int, audio_tokens: int, embeddings: str, tokens: int) -> dict[str, Any]:
        """Answer a question about audio; its first token is timed on its own."""
        prompt = {"inputs_embeds": torch.from_numpy(np.load(embeddings))[None]}
        mask = torch.ones(1, len(token_ids))
        times = []
        for count in (1, tokens):
            began = time.perf_counter()
            self._generate(count, attention_mask=mask, **prompt)
            times.append(time.perf_counter() - began)
        return {"first_token_seconds": times[0], "seconds": times[1]}

    def _generate(self, tokens: int, **prompt: torch.Tensor) -> torch.Tensor:
        return self._model.generate(
            **prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, eos_token_id=None, pad_token_id=0
        )


def main() -> None:
    """Serve until the input ends."""
    answer = claim_output()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--plain", required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    side = GenerateSide(Qwen2ForCausalLM.from_pretrained(given.plain, dtype=torch.float32).eval())
    serve(answer, {"decode": side.decode, "ask": side.ask})


if __name__ == "__main__":
    main()
