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
from services.training.model import IGNORED, PADDING_BRANCH, Batch
from services.training.questions import further_questions


@dataclass(frozen=True)
class Row:
    """A conversation in tokens; several questions about one clip are branches (from 1) of a common trunk (0)."""

    token_ids: list[int]
    labels: list[int]
    audio_spans: Sequence[tuple[int, int]]
    branches: list[int]

    def branched(self, others: Sequence["Row"]) -> "Row":
        """This row with the questions of others about the same clip behind its own."""
        if not others:
            return self
        start, length = self.audio_spans[-1]
        trunk = start + length
        rows = [self, *others]
        return Row(
            token_ids=self.token_ids[:trunk] + [token for row in rows for token in row.token_ids[trunk:]],
            labels=self.labels[:trunk] + [label for row in rows for label in row.labels[trunk:]],
            audio_spans=self.audio_spans,
            branches=[0] * trunk + [b for b, row in enumerate(rows, start=1) for _ in row.token_ids[trunk:]],
        )


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

    def batch(
        self,
        examples: Sequence[Example],
        step: int,
        answers: Sequence[str] | None = None,
        extra_questions: int = 0,
    ) -> Batch:
        """A batch that teaches the examples' answers.

        Args:
            answers: to teach in their stead (DPO's worse answers).
            extra_questions: how many more questions are asked about each clip, if its traits answer so many.
        """
        heard = [self.hear(example, step) for example in examples]
        answers = [example.answer for example in examples] if answers is None else answers
        rows = []
        for example, clips, answer in zip(examples, heard, answers, strict=True):
            row = self._asked(example, clips, answer)
            more = further_questions(example, random.Random(f"more {example.id} {step}"), extra_questions)
            rows.append(row.branched([self._asked(further, clips, further.answer) for further in more]))
        mels = [clip.mel for clips in heard for clip in clips]
        places = [(index, start, length) for index, row in enumerate(rows) for start, length in row.audio_spans]
        token_ids = [row.token_ids for row in rows]
        branched = any(max(row.branches) > 0 for row in rows)
        return Batch(
            token_ids=_padded(token_ids, 0),
            attention_mask=_padded([[1] * len(row.token_ids) for row in rows], 0),
            labels=_padded([row.labels for row in rows], IGNORED),
            features=[torch.from_numpy(mel.features) for mel in mels],
            num_frames=[mel.num_frames for mel in mels],
            places=places,
            shared=_shared(token_ids, min([start for _, start, _ in places], default=len(token_ids[0]))),
            branches=_padded([row.branches for row in rows], PADDING_BRANCH) if branched else None,
        )

    def _asked(self, example: Example, clips: Sequence[Heard], answer: str) -> Row:
        prompt = self.prompts.build(to_messages(example, [clip.mel for clip in clips]))
        answer_ids = self._answer_ids(answer)
        return Row(
            token_ids=prompt.token_ids + answer_ids,
            labels=[IGNORED] * len(prompt.token_ids) + answer_ids,
            audio_spans=prompt.audio_spans,
            branches=[0] * len(prompt.token_ids + answer_ids),
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
