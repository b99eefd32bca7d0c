"""Text-only chat: typed questions with the answers of the untouched language model, so that training keeps its manners.

python -m services.training.data.chat --out FOLDER --base CHECKPOINT
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from services.evaluation.local_model import LocalModel, answer_locally, load_local_model
from services.evaluation.manifest import Example, assistant_turn, user_turn, write_manifest

SUBJECTS = (
    "gravity", "the moon", "photosynthesis", "a volcano", "democracy", "an orchestra", "a library", "the heart",
    "electricity", "a rainbow", "the internet", "a bicycle", "bread", "the Roman Empire", "chess", "a bridge",
)  # fmt: skip
FORMS = ("What is {}?", "Tell me about {}.", "Why is {} important?", "Write one sentence about {}.")
_PAIRS = tuple(itertools.product(SUBJECTS, FORMS))
_MAX_ANSWER_TOKENS = 40


def main() -> None:
    """Write ``chat.jsonl``: a quarter of the questions is kept for testing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    print(write_manifest(options.out / "chat.jsonl", _answered(load_local_model(options.base))), "examples")


def _answered(model: LocalModel) -> Iterator[Example]:
    questions = [_question(index, form.format(subject)) for index, (subject, form) in enumerate(_PAIRS)]
    answers = answer_locally(model, questions, max_answer_tokens=_MAX_ANSWER_TOKENS)
    for question, text in zip(questions, answers, strict=True):
        whole = text[: max(text.rfind(mark) for mark in ".!?") + 1]  # half a sentence would teach to stop there
        if whole:
            yield replace(question, messages=[question.messages[0], assistant_turn(whole)])


def _question(index: int, text: str) -> Example:
    return Example(
        id=f"chat/{index:03d}",
        task="chat",
        split="test" if index % 4 == index // 4 % 4 else "train",
        license="Apache-2.0 (SmolLM2-135M-Instruct's own words)",
        source="language model",
        audio=[],
        messages=[user_turn(text, 0), assistant_turn("")],
    )


if __name__ == "__main__":
    main()
