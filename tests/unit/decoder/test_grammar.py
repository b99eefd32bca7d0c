"""Answers of a given form: always of that form, never at the cost of others, and bad forms refused in bounded time."""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from services.common.errors import AuricleError, FailedPrecondition, InvalidArgument, ResourceExhausted
from services.common.generation import GenerationParams
from services.decoder.core import EngineCore
from services.decoder.engine import FinishReason
from services.decoder.grammar import MASK_SECONDS, MAX_WAITING, Grammar, GrammarCompiler
from services.decoder.sequence import Sequence
from services.qwen2_audio.weights import Checkpoint
from tests.unit.decoder.test_engine_core import finish_of, prompt, run, text_of

pytestmark = pytest.mark.unit

MakeCore = Callable[..., EngineCore]
MakeSequence = Callable[..., Sequence]

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"loud": {"type": "boolean"}, "what": {"enum": ["dog", "cat", "bird"]}, "count": {"const": 17}},
    "required": ["loud", "what", "count"],
    "additionalProperties": False,
}
# Intersections of such patterns keep llguidance busy for minutes.
ENDLESS = {"type": "string", "allOf": [{"pattern": f"(a.{{20}}){{{n}}}"} for n in range(5, 30)]}


@pytest.fixture
async def compiler(checkpoint: Checkpoint, tokenizer: Any) -> AsyncIterator[GrammarCompiler]:
    made = GrammarCompiler(tokenizer, 512, checkpoint.end_token_ids)
    yield made
    made.close()


async def formed(compiler: GrammarCompiler, sequence: Sequence) -> Sequence:
    """The sequence with the grammar that its params ask for."""
    grammar = await compiler.compile(sequence.request.params)
    sequence.request = replace(sequence.request, grammar=grammar)
    return sequence


async def test_every_answer_has_its_form_and_others_are_as_if_alone(
    compiler: GrammarCompiler, make_core: MakeCore, make_sequence: MakeSequence
) -> None:
    run(make_core(), [alone := make_sequence(prompt(20, 5), 40)])
    schema = json.dumps(SCHEMA)
    objects = [
        await formed(compiler, make_sequence(prompt(9, seed), 200, json_schema=schema, temperature=2.0, seed=seed))
        for seed in range(3)
    ]
    words = await formed(compiler, make_sequence(prompt(9, 7), 200, regex="[a-c]{4}-(é|xyz)", repetition_penalty=1.5))
    beside = make_sequence(prompt(20, 5), 40)
    events = run(make_core(step_rows=12), [*objects, words, beside])
    for sequence in objects:
        answer = json.loads(text_of(events[sequence]))
        assert answer.keys() == SCHEMA["properties"].keys()
        assert answer["what"] in ("dog", "cat", "bird")
        assert answer["count"] == 17
    assert re.fullmatch("[a-c]{4}-(é|xyz)", text_of(events[words]))
    assert all(finish_of(events[s]).reason is FinishReason.STOP for s in (*objects, words))
    assert beside.generated == alone.generated


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"json_schema": '{"type": '}, "GRAMMAR_INVALID"),
        ({"json_schema": "[1]"}, "GRAMMAR_INVALID"),
        ({"json_schema": '{"type": "foo"}'}, "GRAMMAR_INVALID"),
        ({"json_schema": '{"type": "integer", "minimum": 5, "maximum": 3}'}, "GRAMMAR_INVALID"),
        ({"json_schema": '{"$ref": "#"}'}, "GRAMMAR_INVALID"),
        ({"json_schema": '{"$ref": "file:///etc/passwd"}'}, "GRAMMAR_INVALID"),
        ({"json_schema": '{"items":' * 1000 + "{}" + "}" * 1000}, "GRAMMAR_INVALID"),
        ({"regex": "(("}, "GRAMMAR_INVALID"),
        ({"regex": "(?=a)b"}, "GRAMMAR_INVALID"),
        ({"regex": r"[^\s\S]"}, "GRAMMAR_INVALID"),
        ({"json_schema": json.dumps(ENDLESS)}, "GRAMMAR_TOO_COMPLEX"),
    ],
)
async def test_a_form_that_cannot_be_had_is_refused(
    compiler: GrammarCompiler, form: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await compiler.compile(GenerationParams(**form))
    assert raised.value.reason == reason
    assert [violation.field for violation in raised.value.violations] == [f"config.{name}" for name in form]


async def test_not_too_many_forms_wait(compiler: GrammarCompiler) -> None:
    params = GenerationParams(regex="yes|no")
    outcomes = await asyncio.gather(*(compiler.compile(params) for _ in range(MAX_WAITING + 1)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Grammar] * MAX_WAITING + [ResourceExhausted]


async def test_without_the_library_a_form_is_refused(
    compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await compiler.compile(GenerationParams()) is None
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(FailedPrecondition):
        await compiler.compile(GenerationParams(regex="yes|no"))


class Slow:
    """A matcher that takes too long from its second token on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def compute_bitmask(self) -> bytes:
        time.sleep(self.seconds)
        return b"\xff" * 64

    def consume_token(self, token_id: int) -> None:
        self.seconds = 2 * MASK_SECONDS

    def is_error(self) -> bool:
        return False


def test_a_form_that_takes_too_long_ends_its_own_request_alone(
    make_core: MakeCore, make_sequence: MakeSequence
) -> None:
    slow, other = make_sequence(prompt(9, 1), 5), make_sequence(prompt(9, 2), 5)
    with ThreadPoolExecutor(1) as pool:
        slow.request = replace(slow.request, grammar=Grammar(Slow(), pool))
        events = run(make_core(), [slow, other])
    error = events[slow][-1]
    assert isinstance(error, AuricleError)
    assert error.reason == "GRAMMAR_TOO_COMPLEX"
    assert len(other.generated) == 5
