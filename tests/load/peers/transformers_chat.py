"""transformers' whole Qwen2-Audio as a side of the benchmark: fp32, the questions of all callers in a batch."""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from services.qwen2_audio.mel import SAMPLE_RATE_HZ
from tests.load.peers.protocol import claim_output, serve
from tests.prompts import clip
from tests.reference import Reference


class Clock(StoppingCriteria):
    """Stops nothing; notes when each token of a batch came."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.arrivals: list[float] = []

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        self.arrivals.append(time.perf_counter() - self.began)
        return torch.zeros(len(input_ids), dtype=torch.bool)


class ChatSide:
    """Operations of the protocol on a model of transformers."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference

    def converse(
        self, seeds: list[int], clip_seconds: float, question: str, callers: int, tokens: int
    ) -> dict[str, Any]:
        """Answer questions about clips; callers wait for each other, for a batch takes nobody in on its way."""
        start = time.perf_counter()
        batches = [seeds[first : first + callers] for first in range(0, len(seeds), callers)]
        answers = [
            answer
            for batch in batches
            for answer in self._together([clip(clip_seconds, seed) for seed in batch], question, tokens)
        ]
        return {"seconds": time.perf_counter() - start, "answers": answers}

    @torch.inference_mode()
    def _together(self, clips: list[Any], question: str, tokens: int) -> list[dict[str, Any]]:
        clock = Clock()
        model, processor = self._reference.model, self._reference.processor
        content = [{"type": "audio"}, {"type": "text", "text": question}]
        words = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        inputs = processor(text=[words] * len(clips), audio=clips, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        whole = model.generate(**inputs, max_new_tokens=tokens, stopping_criteria=StoppingCriteriaList([clock]))
        answers = whole[:, inputs["input_ids"].shape[1] :]
        eos = model.generation_config.eos_token_id
        ends = {eos} if isinstance(eos, int) else set(eos)
        counts = [
            next((place + 1 for place, token in enumerate(answer) if token in ends), len(answer))
            for answer in answers.tolist()
        ]
        return [{"arrivals": clock.arrivals[:count], "tokens": count} for count in counts]


def main() -> None:
    """Serve until the input ends."""
    answer = claim_output()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    side = ChatSide(Reference(given.checkpoint))
    serve(answer, {"converse": side.converse})


if __name__ == "__main__":
    main()
