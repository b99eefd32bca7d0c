"""transformers' own Qwen2-Audio, the yardstick of the model tests: padded to 30 s, one clip at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoProcessor, BatchFeature, GenerationConfig, Qwen2AudioForConditionalGeneration

from services.qwen2_audio.mel import SAMPLE_RATE_HZ

Samples = NDArray[np.float32]


class Reference:
    """Processor and model of a checkpoint as transformers loads them, in fp32 on the CPU.

    Messages have the shape transformers uses: ``{"role": ..., "content": text | [{"type": "audio"}, {"type": "text",
    "text": ...}]}``; the audio itself is given beside them, in order.
    """

    def __init__(self, path: Path) -> None:
        self.processor = AutoProcessor.from_pretrained(path)
        self.model = Qwen2AudioForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()
        # The checkpoint's own defaults may sample and penalize repetition; greedy means neither.
        own = self.model.generation_config
        self.model.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
        )
        if self.model.config.text_config.tie_word_embeddings:  # the class itself ties nothing
            self.model.lm_head.weight = self.model.get_input_embeddings().weight

    def inputs(self, messages: Sequence[dict[str, Any]], audios: Sequence[Samples] = ()) -> BatchFeature:
        """Padded features and expanded ids of one conversation, batch of one."""
        text = self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return self.processor(text=text, audio=list(audios) or None, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")

    def prompt_ids(self, messages: Sequence[dict[str, Any]], audios: Sequence[Samples] = ()) -> list[int]:
        """The prompt with every placeholder expanded."""
        return self.inputs(messages, audios)["input_ids"][0].tolist()

    @torch.inference_mode()
    def embeddings(self, samples: Samples) -> torch.Tensor:
        """What the language model receives in the places of one clip: ``(tokens, hidden)``."""
        inputs = self.inputs([{"role": "user", "content": [{"type": "audio"}]}], [samples])
        seen: list[torch.Tensor] = []

        def stop(_module: torch.nn.Module, _args: tuple, kwargs: dict[str, torch.Tensor]) -> None:
            seen.append(kwargs["inputs_embeds"])
            raise _SeenError

        hook = self.model.model.language_model.register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self.model(**inputs)
        except _SeenError:
            pass
        finally:
            hook.remove()
        return seen[0][inputs["input_ids"] == self.model.config.audio_token_id]

    @torch.inference_mode()
    def generate(
        self, messages: Sequence[dict[str, Any]], audios: Sequence[Samples] = (), max_new_tokens: int = 32
    ) -> list[int]:
        """Greedy tokens after the prompt, the end token included where it was reached."""
        inputs = self.inputs(messages, audios)
        ids = self.model.generate(**inputs, max_new_tokens=max_new_tokens)
        return ids[0, inputs["input_ids"].shape[1] :].tolist()

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of generated tokens, special ones left out."""
        return self.processor.tokenizer.decode(token_ids, skip_special_tokens=True)


@dataclass(frozen=True)
class Case:
    """A checkpoint and what transformers makes of it."""

    path: Path
    reference: Reference


class _SeenError(Exception):
    """Ends a forward pass once the language model's input was seen."""
