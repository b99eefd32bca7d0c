"""Whatever the schedule, greedy answers are those of transformers: small caches, shared beginnings, cancellations."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.decoder.core import EngineCore
from services.decoder.engine import AudioSpan, Priority
from services.decoder.sequence import Sequence

pytestmark = pytest.mark.unit

MAX_NEW = 24
Question = tuple[list[int], list[AudioSpan]]


def questions() -> list[Question]:
    """Prompts of many lengths; several share a beginning, with and without audio in it."""
    chance = np.random.default_rng(0)
    common = chance.integers(0, 400, 50).tolist()
    sound = AudioSpan(5, chance.standard_normal((30, 64)).astype("f4"))
    other = AudioSpan(5, chance.standard_normal((30, 64)).astype("f4"))
    endings = [chance.integers(0, 400, length).tolist() for length in (1, 9, 14, 40)]
    return [
        *((common + ending, []) for ending in endings),
        *((common + ending, [sound]) for ending in endings),
        (common + endings[0], [other]),
        (common[:48], [sound]),
        (endings[0], []),
    ]


QUESTIONS = questions()


@pytest.fixture(scope="module")
def expected(reference: Any) -> list[list[int]]:
    answers = []
    for token_ids, audio in QUESTIONS:
        with torch.inference_mode():
            embeddings = reference.get_input_embeddings()(torch.tensor([token_ids])).clone()
            for span in audio:
                embeddings[0, span.start : span.start + len(span.embeddings)] = torch.tensor(span.embeddings)
            mask = torch.ones(embeddings.shape[:2])
            answer = reference.generate(
                inputs_embeds=embeddings, attention_mask=mask, max_new_tokens=MAX_NEW, do_sample=False, eos_token_id=-1
            )
        answers.append(answer[0].tolist())
    return answers


arrivals = st.tuples(
    st.integers(0, len(QUESTIONS) - 1),  # which question
    st.integers(0, 6),  # steps before it comes
    st.integers(1, MAX_NEW),  # its longest answer
    st.sampled_from(Priority),
    st.sampled_from([None, None, None, 3, 10]),  # cancelled so many steps later
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plan=st.lists(arrivals, min_size=1, max_size=12),
    blocks=st.integers(8, 40),
    max_running=st.integers(1, 6),
    step_rows=st.integers(6, 100),
)
def test_answers_do_not_depend_on_the_schedule(
    plan: list[tuple[int, int, int, Priority, int | None]],
    blocks: int,
    max_running: int,
    step_rows: int,
    make_core: Callable[..., EngineCore],
    make_sequence: Callable[..., Sequence],
    expected: list[list[int]],
) -> None:
    core = make_core(capacity_tokens=16 * blocks, max_running=max_running, step_rows=step_rows)
    core._end_tokens = frozenset()
    comings: dict[int, list[tuple[int, Sequence, int | None]]] = {}
    step = 0
    for question, pause, max_new, priority, cancelled_after in plan:
        step += pause
        token_ids, audio = QUESTIONS[question]
        sequence = make_sequence(token_ids, max_new, audio, priority=priority)
        comings.setdefault(step, []).append((question, sequence, cancelled_after))
    goings: dict[int, list[Sequence]] = {}
    last_coming, step, cancelled = step, 0, set()
    while step <= last_coming or core.scheduler.has_work:
        for _, sequence, cancelled_after in comings.get(step, ()):
            core.add(sequence)
            if cancelled_after is not None:
                goings.setdefault(step + cancelled_after, []).append(sequence)
        for sequence in goings.get(step, ()):
            core.scheduler.remove(sequence)
            cancelled.add(sequence)
        core.step()
        assert core.cache.used_tokens <= core.cache.capacity_tokens
        step += 1
        assert step < 3000, "somebody starves"
    assert core.cache.pool.used == 0
    for coming in comings.values():
        for question, sequence, _ in coming:
            answer = expected[question][: sequence.request.params.max_output_tokens]
            assert sequence.generated == (answer[: len(sequence.generated)] if sequence in cancelled else answer)
