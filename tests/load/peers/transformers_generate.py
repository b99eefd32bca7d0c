"""transformers' generate() as a side of the benchmark: fp32, prompts of one length in one batch."""

import argparse
import time
from typing import Any

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
    serve(answer, {"decode": side.decode})


if __name__ == "__main__":
    main()
