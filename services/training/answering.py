"""Greedy answers of a model under training, for held-out scores in process."""

from collections.abc import Sequence
from typing import Any

import torch

from services.training.collate import Collator, to_messages
from services.training.manifest import Example
from services.training.model import AudioLanguageModel, Batch

MAX_NEW_TOKENS = 40


@torch.inference_mode()
def answer(model: AudioLanguageModel, collator: Collator, examples: Sequence[Example], rows: int = 8) -> list[str]:
    """One greedy answer per example, clips of like length decoded together."""
    order = sorted(range(len(examples)), key=lambda index: examples[index].seconds)
    answers = [""] * len(examples)
    model.eval()
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        for index, text in zip(chosen, _decode(model, collator, [examples[i] for i in chosen]), strict=True):
            answers[index] = text
    return answers


def _decode(model: AudioLanguageModel, collator: Collator, examples: Sequence[Example]) -> list[str]:
    batch = _prompts(collator, examples)
    end = int(collator.tokenizer.eos_token_id)
    generator: Any = model.language_model  # transformers types generate() for a mixin no class declares
    made = generator.generate(
        inputs_embeds=model.embed(batch),
        attention_mask=batch.attention_mask,
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
    )
    return [str(collator.tokenizer.decode(row, skip_special_tokens=True)).strip() for row in made]


def _prompts(collator: Collator, examples: Sequence[Example]) -> Batch:
    """Prompts without answers, padded at the front: generation goes on at the end."""
    heard = [collator.hear(example, 0) for example in examples]
    built = [
        collator.prompts.build(to_messages(example.messages[:-1], clips))
        for example, clips in zip(examples, heard, strict=True)
    ]
    length = max(len(prompt.token_ids) for prompt in built)
    pads = [length - len(prompt.token_ids) for prompt in built]
    mels = [clip.mel for clips in heard for clip in clips]
    ids = torch.tensor([[0] * pad + prompt.token_ids for pad, prompt in zip(pads, built, strict=True)])
    return Batch(
        token_ids=ids,
        attention_mask=torch.tensor([[0] * pad + [1] * (length - pad) for pad in pads]),
        labels=ids,
        features=[torch.from_numpy(mel.features) for mel in mels],
        num_frames=[mel.num_frames for mel in mels],
        places=[
            (row, pad + start, size)
            for row, (pad, prompt) in enumerate(zip(pads, built, strict=True))
            for start, size in prompt.audio_spans
        ],
    )
