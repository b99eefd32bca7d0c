"""What every engine does behind the interface, tried on each that is installed: torch, and vLLM by `make test-vllm`."""

import asyncio
import importlib.util
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from prometheus_client import REGISTRY
from transformers import Qwen2ForCausalLM

from services.common.errors import AuricleError, DeadlineExceeded, FailedPrecondition, ResourceExhausted, Unavailable
from services.common.generation import GenerationParams
from services.decoder.build import load_tokenizer, make_engine
from services.decoder.engine import AudioSpan, Engine, EngineRequest, Finish, FinishReason, Priority, TokenEvent
from services.decoder.grammar import GrammarCompiler
from services.decoder.settings import DecoderSettings
from services.qwen2_audio.config import CheckpointError, text_config
from services.qwen2_audio.weights import Checkpoint
from tests.checkpoints import make_official_checkpoint
from tests.decoder_client import decoder_settings

pytestmark = [pytest.mark.unit, pytest.mark.asyncio(loop_scope="module")]

ENGINES = ["torch", *(["vllm"] if importlib.util.find_spec("vllm") else [])]
RUNNING, WAITING, UNREAD = 8, 4, 64
LONG = 4000  # tokens; seconds of work


@dataclass(frozen=True)
class Model:
    """A tiny checkpoint and what transformers makes of it."""

    path: Path
    tokenizer: Any
    reference: Any  # Qwen2ForCausalLM; its `generate` has no type that fits it

    def expected(self, request: EngineRequest) -> list[int]:
        """Greedy tokens by transformers."""
        with torch.inference_mode():
            embeddings = self.reference.get_input_embeddings()(torch.tensor([list(request.token_ids)])).clone()
            for span in request.audio:
                embeddings[0, span.start : span.start + len(span.embeddings)] = torch.tensor(span.embeddings)
            answer = self.reference.generate(
                inputs_embeds=embeddings,
                attention_mask=torch.ones(embeddings.shape[:2]),
                max_new_tokens=request.params.max_output_tokens,
                do_sample=False,
                eos_token_id=-1,
            )
        return answer[0].tolist()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = make_official_checkpoint(tmp_path_factory.mktemp("conformance") / "checkpoint", heads=2, endless=True)
    checkpoint = Checkpoint(path)
    reference = Qwen2ForCausalLM(text_config(checkpoint.config))
    reference.load_state_dict(checkpoint.text_tensors())
    return Model(path, load_tokenizer(checkpoint), reference.eval())


def settings_of(kind: str, path: Path, **fields: Any) -> DecoderSettings:
    given = {"max_running": RUNNING, "max_waiting": WAITING, "max_unread_tokens": UNREAD, **fields}
    if kind == "vllm":
        given |= {"vllm_exports": path.parent / "exports", "vllm_arguments": '{"enforce_eager": true}'}
    return decoder_settings(path, engine=kind, kv_cache_tokens=40_000, **given)


def new_engine(kind: str, model: Model, path: Path | None = None, **fields: Any) -> Engine:
    return make_engine(settings_of(kind, path or model.path, **fields), Checkpoint(path or model.path), model.tokenizer)


@pytest.fixture(scope="module", params=ENGINES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(kind: str, model: Model) -> AsyncIterator[Engine]:
    made = new_engine(kind, model)
    await made.start()
    yield made
    await made.close()


def request(length: int = 3, max_output_tokens: int = 5, seconds: float = 60, seed: int = 0, **params: Any) -> Any:
    token_ids = np.random.default_rng(seed).integers(0, 400, length).tolist()
    now = time.monotonic()
    given = GenerationParams(max_output_tokens=max_output_tokens, **params)
    return EngineRequest(token_ids, (), given, arrival=now, deadline=now + seconds)


def sound(start: int, tokens: int, seed: int) -> AudioSpan:
    return AudioSpan(start, np.random.default_rng(seed).standard_normal((tokens, 64)).astype("f4"))


async def events_of(engine: Engine, asked: EngineRequest) -> list[TokenEvent]:
    return [event async for event in engine.generate(asked)]


async def tokens_of(engine: Engine, asked: EngineRequest) -> list[int]:
    return [token for event in await events_of(engine, asked) for token in event.token_ids]


def finish_of(events: list[TokenEvent]) -> Finish:
    """How the answer ended; only its last event tells."""
    assert [event.finish is None for event in events] == [True] * (len(events) - 1) + [False]
    assert events[-1].finish is not None
    return events[-1].finish


def text_of(events: list[TokenEvent]) -> str:
    return "".join(event.text for event in events)


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"auricle_decoder_{name}", labels) or 0.0


def load() -> float:
    return sum(metric(name) for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - metrics have no event
            await asyncio.sleep(0.005)


async def outcome(awaited: Awaitable[Any]) -> Any:
    return (await asyncio.gather(awaited, return_exceptions=True))[0]


def questions() -> list[EngineRequest]:
    """Of many lengths, with and without audio; several share a beginning."""
    plain = [request(length, 20, seed=length) for length in (1, 9, 40, 130, 300)]
    common = request(150, 20, seed=7)
    heard = [replace(common, audio=[sound(5, 100, 1)]), replace(common, audio=[sound(5, 100, 2)])]
    twice = replace(common, audio=[sound(5, 30, 1), sound(60, 40, 2)])
    return [*plain, common, *heard, twice]


async def test_greedy_answers_are_those_of_transformers_alone_and_together(engine: Engine, model: Model) -> None:
    expected = [model.expected(asked) for asked in questions()]
    assert len({tuple(answer) for answer in expected}) == len(expected)
    assert [await tokens_of(engine, asked) for asked in questions()] == expected
    assert await asyncio.gather(*(tokens_of(engine, asked) for asked in questions())) == expected


async def test_a_penalty_holds_over_prompt_and_answer(engine: Engine, model: Model) -> None:
    asked = request(40, 20, seed=3, repetition_penalty=1.5)
    ids = torch.tensor([list(asked.token_ids)])
    with torch.inference_mode():
        answer = model.reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=20,
            do_sample=False,
            eos_token_id=-1,
            repetition_penalty=1.5,
        )
    assert await tokens_of(engine, asked) == answer[0, 40:].tolist()


async def test_the_second_question_about_a_sound_finds_what_the_first_computed(engine: Engine) -> None:
    audio, token_ids = [sound(5, 120, 11)], request(160, seed=11).token_ids
    before = metric("prefix_cache_hits_total")
    first = finish_of(await events_of(engine, replace(request(), token_ids=token_ids, audio=audio)))
    second = finish_of(await events_of(engine, replace(request(), token_ids=[*token_ids[:150], 1, 2], audio=audio)))
    other = finish_of(await events_of(engine, replace(request(), token_ids=token_ids, audio=[sound(5, 120, 12)])))
    assert (first.cached_tokens, other.cached_tokens) == (0, 0)
    assert second.cached_tokens >= 128
    assert metric("prefix_cache_hits_total") - before == second.cached_tokens


async def test_a_seed_gives_the_same_answer_alone_and_in_a_batch(engine: Engine) -> None:
    sampled = [request(9, 20, seed=1, temperature=1.2, top_p=0.95, top_k=200)] * 3
    seeded = [replace(asked, params=replace(asked.params, seed=2**64 - 1 - n)) for n, asked in enumerate(sampled)]
    alone = [await tokens_of(engine, asked) for asked in seeded]
    assert len({tuple(tokens) for tokens in alone}) == 3
    others = [request(30, 20, seed=50 + n, temperature=1.5) for n in range(4)]
    together = await asyncio.gather(*(tokens_of(engine, asked) for asked in [*others, *seeded]))
    assert together[4:] == alone


async def test_an_answer_is_streamed_whole_and_ends_by_length_or_before_a_stop_string(engine: Engine) -> None:
    events = await events_of(engine, request(9, 40, seed=3))
    assert finish_of(events).reason is FinishReason.LENGTH
    assert sum(len(event.token_ids) for event in events) == 40
    assert len(events) > 10
    text = text_of(events)
    stop = text[len(text) // 2 :][:4]
    stopped = await events_of(engine, request(9, 40, seed=3, stop=(stop, "never said")))
    assert finish_of(stopped).reason is FinishReason.STOP_STRING
    assert text_of(stopped) == text[: text.index(stop)]
    assert sum(len(event.token_ids) for event in stopped) < 40


async def test_times_and_tokens_are_told_and_counted(engine: Engine) -> None:
    def counted() -> list[float]:
        return [
            metric("generation_tokens_total"),
            metric("prompt_tokens_total"),
            metric("request_success_total", finish_reason="length"),
            metric("time_to_first_token_seconds_count"),
            metric("inter_token_latency_seconds_count"),
        ]

    before, asked = counted(), request(12, 7)
    finish = finish_of(await events_of(engine, asked))
    assert [b - a for a, b in zip(before, counted(), strict=True)] == [7, 12, 1, 1, 6]
    assert finish.queue_seconds >= 0
    assert finish.prefill_seconds > 0
    assert finish.decode_seconds > 0
    total = finish.queue_seconds + finish.prefill_seconds + finish.decode_seconds
    assert total <= time.monotonic() - asked.arrival


async def test_closing_a_stream_or_cancelling_its_reader_leaves_nothing_behind(engine: Engine) -> None:
    stream = engine.generate(request(9, LONG))
    await anext(stream)
    readers = [asyncio.create_task(tokens_of(engine, request(9, LONG, seed=n))) for n in range(6)]
    await until(lambda: metric("num_requests_running") == 7)
    assert metric("kv_cache_usage_perc") > 0
    await stream.aclose()
    for reader in readers:
        reader.cancel()
    await until(lambda: load() == 0)
    assert len(await tokens_of(engine, request(9, 3))) == 3


async def test_past_its_bound_the_queue_refuses_and_says_when_to_retry(engine: Engine) -> None:
    asked = [request(9, 60, seed=n) for n in range(RUNNING + WAITING + 3)]
    outcomes = await asyncio.gather(*(tokens_of(engine, each) for each in asked), return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, ResourceExhausted)]
    assert [error.reason for error in refused] == ["DECODER_QUEUE_FULL"] * 3
    assert refused[0].retry_after_seconds
    assert [len(each) for each in outcomes if isinstance(each, list)] == [60] * (RUNNING + WAITING)


async def test_a_reader_that_stops_reading_loses_its_place(engine: Engine) -> None:
    stream = engine.generate(request(9, LONG))
    await anext(stream)
    await until(lambda: load() > 0)
    await until(lambda: load() == 0)
    with pytest.raises(ResourceExhausted) as raised:
        async for _ in stream:
            pass
    assert raised.value.reason == "READER_TOO_SLOW"


async def test_a_deadline_that_passes_in_the_queue_or_while_running_ends_the_request(engine: Engine) -> None:
    running = [asyncio.create_task(tokens_of(engine, request(9, LONG, 1.5, seed=n))) for n in range(RUNNING)]
    await until(lambda: metric("num_requests_running") == RUNNING)
    assert isinstance(await outcome(tokens_of(engine, request(9, 5, 0.2))), DeadlineExceeded)
    assert not any(reader.done() for reader in running)
    assert {type(each) for each in await asyncio.gather(*running, return_exceptions=True)} == {DeadlineExceeded}
    await until(lambda: load() == 0)


async def test_an_interactive_request_overtakes_bulk_requests_that_wait(engine: Engine) -> None:
    running = [asyncio.create_task(tokens_of(engine, request(9, 200, seed=n))) for n in range(RUNNING)]
    await until(lambda: metric("num_requests_running") == RUNNING)
    ended: list[str] = []

    async def ask(name: str, priority: Priority) -> None:
        await tokens_of(engine, replace(request(9, 40, seed=99), priority=priority))
        ended.append(name)

    bulk = [asyncio.create_task(ask("bulk", Priority.BULK)) for _ in range(2)]
    await until(lambda: metric("num_requests_waiting") == 2)
    await ask("interactive", Priority.INTERACTIVE)
    assert ended == ["interactive"]
    await asyncio.gather(*bulk, *running)


async def test_many_cancels_leave_nothing_behind(engine: Engine) -> None:
    for round_number in range(20):
        readers = [asyncio.create_task(tokens_of(engine, request(9, LONG))) for _ in range(RUNNING + WAITING)]
        await asyncio.sleep(0.01 * (round_number % 3))
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    assert len(await tokens_of(engine, request(3, 3))) == 3
    await until(lambda: load() == 0)


async def test_an_answer_has_the_form_that_is_asked_for(engine: Engine, model: Model) -> None:
    end_tokens = Checkpoint(model.path).end_token_ids
    grammars = GrammarCompiler(model.tokenizer, 512, end_tokens)
    schema = '{"type": "object", "properties": {"speakers": {"enum": [1, 2]}}, "required": ["speakers"]}'
    asked = [request(9, 60, seed=n, temperature=1.5, regex="[0-9]{3}-(yes|no)") for n in range(3)]
    asked.append(request(9, 60, json_schema=schema))
    formed = [replace(each, grammar=await grammars.compile(each.params)) for each in asked]
    answers = await asyncio.gather(*(events_of(engine, each) for each in formed))
    grammars.close()
    assert all(re.fullmatch("[0-9]{3}-(yes|no)", text_of(events)) for events in answers[:3])
    assert re.fullmatch(r'\{"speakers": [12]\}', text_of(answers[3]))
    # By an end token, which brings no text.
    assert {finish_of(events).reason for events in answers} == {FinishReason.STOP}
    assert all(events[-1].token_ids[-1] in end_tokens for events in answers)


async def test_audio_contrast_is_decoded_or_refused_by_name(engine: Engine, kind: str) -> None:
    plain = request(40, 10, seed=5)
    without_audio = replace(plain, params=replace(plain.params, audio_contrast=1.0))
    assert await tokens_of(engine, without_audio) == await tokens_of(engine, plain)
    with_audio = await outcome(tokens_of(engine, replace(without_audio, audio=[sound(5, 20, 1)])))
    if kind == "torch":
        assert len(with_audio) == 10
    else:
        assert isinstance(with_audio, FailedPrecondition)
        assert (with_audio.reason, with_audio.metadata) == ("AUDIO_CONTRAST_UNSUPPORTED", {"engine": kind})


async def test_closing_ends_open_requests_and_refuses_new_ones(kind: str, model: Model) -> None:
    made = new_engine(kind, model, max_running=1)
    assert isinstance(await outcome(tokens_of(made, request())), Unavailable)
    await made.start()
    streams = [asyncio.create_task(tokens_of(made, request(3, LONG))) for _ in range(3)]
    await until(lambda: metric("num_requests_running") == 1)
    await made.close()
    assert {type(each) for each in await asyncio.gather(*streams, return_exceptions=True)} == {Unavailable}
    assert isinstance(await outcome(tokens_of(made, request())), Unavailable)


async def test_an_engine_that_cannot_load_says_why(kind: str, model: Model, tmp_path: Path) -> None:
    path = make_official_checkpoint(tmp_path / "checkpoint", heads=2)
    made = new_engine(kind, model, path)
    (path / "model-00003-of-00003.safetensors").unlink()
    assert isinstance(error := await outcome(made.start()), CheckpointError)
    assert "model-00003" in str(error)
    assert isinstance(await outcome(tokens_of(made, request())), AuricleError)
    await made.close()


async def test_context_and_width_are_those_of_checkpoint_and_cache(kind: str, model: Model) -> None:
    assert new_engine(kind, model).context_tokens == 8192
    assert new_engine(kind, model, context_tokens=100).context_tokens == 100
    assert new_engine(kind, model).hidden_size == 64
