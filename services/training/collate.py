"""Examples to batches: conversations tokenized as the platform does it, labels on the answer alone."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from services.evaluation.conversation import to_messages
from services.evaluation.manifest import Example
from services.qwen2_audio.prompt import PromptBuilder
from services.training.hearing import Augmentation, Heard, hear
from services.training.model import IGNORED, Batch


@dataclass(frozen=True)
class Collator:
    """Turns examples into batches.

    Attributes:
        augmentation: applied to every clip; the draw depends on the example and the step alone.
    """

    mel_bins: int
    prompts: PromptBuilder
    tokenizer: PreTrainedTokenizerBase
    augmentation: Augmentation

    def batch(self, examples: Sequence[Example], step: int, answers: Sequence[str] | None = None) -> Batch:
        """A batch that teaches the examples' answers, or the given ones in their stead (DPO's worse answers)."""
        heard = [self.hear(example, step) for example in examples]
        answers = [example.answer for example in examples] if answers is None else answers
        rows, labels, places = [], [], []
        for row, (example, clips, answer) in enumerate(zip(examples, heard, answers, strict=True)):
            prompt = self.prompts.build(to_messages(example, [clip.mel for clip in clips]))
            answer_ids = self._answer_ids(answer)
            rows.append(prompt.token_ids + answer_ids)
            labels.append([IGNORED] * len(prompt.token_ids) + answer_ids)
            places += [(row, start, length) for start, length in prompt.audio_spans]
        mels = [clip.mel for clips in heard for clip in clips]
        return Batch(
            token_ids=_padded(rows, 0),
            attention_mask=_padded([[1] * len(row) for row in rows], 0),
            labels=_padded(labels, IGNORED),
            features=[torch.from_numpy(mel.features) for mel in mels],
            num_frames=[mel.num_frames for mel in mels],
            places=places,
            shared=_shared(rows, min([start for _, start, _ in places], default=len(rows[0]))),
        )

    def hear(self, example: Example, step: int) -> list[Heard]:
        """The example's clips, augmented as this step draws it."""
        chance = random.Random(f"{example.id} {step}")
        return [hear(path, self.mel_bins, self.augmentation, chance) for path in example.paths]

    def _answer_ids(self, answer: str) -> list[int]:
        ids = self.tokenizer(answer, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [*ids, self.tokenizer.eos_token_id]


def _shared(rows: Sequence[Sequence[int]], limit: int) -> int:
    """Length of the beginning that all rows have in common, at most ``limit`` and never a whole row."""
    for position in range(min(limit, *(len(row) - 1 for row in rows))):
        if len({row[position] for row in rows}) > 1:
            return position
    return min(limit, *(len(row) - 1 for row in rows))


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    length = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (length - len(row))] for row in rows])
