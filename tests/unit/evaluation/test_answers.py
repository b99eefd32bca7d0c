"""How examples are asked: of a platform within bounds, of a checkpoint in this process."""

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from auricle import AsyncClient, InvalidArgumentError, ResourceExhaustedError
from services.evaluation.local_model import answer_locally, load_local_model
from services.evaluation.manifest import Example, read_manifest
from services.evaluation.platform import answer_remotely
from services.training.data.clips import write_clip
from tests.checkpoints import make_official_checkpoint
from tests.unit.evaluation.examples import write_examples

pytestmark = pytest.mark.unit

TASKS = ["sound", "transcription", "spoken_question", "instrument", "tempo", "mode"]


class Echo:
    """A client that answers with the name of the file asked about, the first ones last; refusals come first."""

    def __init__(self, refusals: list[Exception] | None = None) -> None:
        self.refusals = refusals or []
        self.in_flight = self.most_in_flight = 0
        self.asked: list[list[dict[str, Any]]] = []

    async def chat(self, conversation: list[dict[str, Any]], *, max_output_tokens: int) -> SimpleNamespace | str:
        self.asked.append(conversation)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        path = conversation[0]["content"][0]["audio"]
        await asyncio.sleep(0.02 if path.name.startswith("sound") else 0.001)
        self.in_flight -= 1
        if self.refusals:
            raise self.refusals.pop()
        return f" {path.name} {max_output_tokens}\n"


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    path = write_examples(tmp_path_factory.mktemp("clips"), dict.fromkeys(TASKS, "Dog."))
    return read_manifest(path, "test").examples


async def ask(client: Any, examples: list[Example], concurrency: int) -> tuple[list[str], int]:
    told: list[None] = []
    answering: AsyncClient = client
    answers = await answer_remotely(answering, examples, 9, concurrency, lambda: told.append(None))
    return answers, len(told)


async def test_answers_keep_their_order_and_few_questions_are_in_flight(examples: list[Example]) -> None:
    client = Echo()
    assert await ask(client, examples, concurrency=2) == ([f"{task}-test.wav 9" for task in TASKS], len(TASKS))
    assert client.most_in_flight == 2


async def test_the_platform_is_asked_what_the_manifest_asks(examples: list[Example]) -> None:
    client = Echo()
    await ask(client, examples[:1], concurrency=1)
    content = [{"type": "audio", "audio": examples[0].paths[0]}, {"type": "text", "text": "What is it?"}]
    assert client.asked == [[{"role": "user", "content": content}]], "and the answer is kept from it"


async def test_a_full_platform_is_asked_again(examples: list[Example]) -> None:
    client = Echo([ResourceExhaustedError("full", retry_after_seconds=0.01) for _ in range(3)])
    answers, _ = await ask(client, examples, concurrency=3)
    assert answers == [f"{task}-test.wav 9" for task in TASKS]


async def test_a_platform_that_stays_full_and_any_other_refusal_end_the_evaluation(examples: list[Example]) -> None:
    full = [ResourceExhaustedError("full", retry_after_seconds=0.001) for _ in range(50)]
    with pytest.raises(ResourceExhaustedError):
        await ask(Echo(list(full)), examples[:1], concurrency=1)
    with pytest.raises(InvalidArgumentError):
        await ask(Echo([InvalidArgumentError("no audio")]), examples, concurrency=4)


def test_a_checkpoint_answers_alike_whoever_is_asked_beside(tmp_path: Path, examples: list[Example]) -> None:
    model = load_local_model(make_official_checkpoint(tmp_path, mel_bins=80, shards=1))
    together = answer_locally(model, examples, rows=6, max_answer_tokens=12)
    assert together == [answer_locally(model, [example], max_answer_tokens=12)[0] for example in examples]
    assert len(set(together)) > 1


def test_a_checkpoint_hears_the_clip(tmp_path: Path, examples: list[Example]) -> None:
    model = load_local_model(make_official_checkpoint(tmp_path, mel_bins=80, shards=1))
    first, last = examples[0], replace(examples[0], root=tmp_path)
    t = np.arange(int(0.4 * 16_000)) / 16_000
    write_clip(np.sign(np.sin(2 * np.pi * 50 * t)).astype(np.float32), tmp_path, first.audio[0])
    answers = answer_locally(model, [first, last], max_answer_tokens=12)
    assert answers[0] != answers[1], "the same length and question, another sound"
