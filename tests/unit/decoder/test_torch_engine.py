"""The engine behind its thread: places, queues, slow readers, deadlines, and its end."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from services.common.errors import InvalidArgument, ResourceExhausted
from services.common.generation import GenerationParams
from services.decoder.engine import AudioSpan, EngineRequest
from services.decoder.torch_engine import TorchEngine, TorchEngineConfig
from services.qwen2_audio.weights import Checkpoint

pytestmark = pytest.mark.unit

LONG = 4000  # tokens; seconds of work
MakeEngine = Callable[..., TorchEngine]


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"auricle_decoder_{name}", labels) or 0.0


def counted() -> list[float]:
    return [
        metric("generation_tokens_total"),
        metric("prompt_tokens_total"),
        metric("request_success_total", finish_reason="length"),
        metric("time_to_first_token_seconds_count"),
        metric("inter_token_latency_seconds_count"),
    ]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - metrics have no event
            await asyncio.sleep(0.002)


def request(max_output_tokens: int = 5, deadline_seconds: float = 60, **params: Any) -> EngineRequest:
    now = time.monotonic()
    given = GenerationParams(max_output_tokens=max_output_tokens, **params)
    return EngineRequest([1, 2, 3], (), given, arrival=now, deadline=now + deadline_seconds)


async def tokens_of(engine: TorchEngine, asked: EngineRequest) -> list[int]:
    return [token async for event in engine.generate(asked) for token in event.token_ids]


@pytest.fixture
async def make_engine(checkpoint: Checkpoint, tokenizer: Any) -> AsyncIterator[MakeEngine]:
    engines = []

    def make(**config: Any) -> TorchEngine:
        # Without end tokens, answers are exactly as long as asked for.
        engines.append(TorchEngine(checkpoint, tokenizer, frozenset(), TorchEngineConfig(threads=1, **config)))
        return engines[-1]

    yield make
    for engine in engines:
        await engine.close()


async def test_context_and_width_are_those_of_checkpoint_and_cache(make_engine: MakeEngine) -> None:
    assert make_engine().context_tokens == 8192
    assert make_engine(kv_cache_tokens=500).context_tokens == 496  # whole blocks
    assert make_engine(context_tokens=100).context_tokens == 100
    assert make_engine().hidden_size == 64


async def test_closing_the_stream_frees_the_place_at_once(make_engine: MakeEngine) -> None:
    engine = make_engine(max_running=1)
    await engine.start()
    stream = engine.generate(request(LONG))
    await anext(stream)
    await until(lambda: metric("num_requests_running") == 1)
    assert metric("kv_cache_usage_perc") > 0
    await stream.aclose()
    async with asyncio.timeout(1):
        assert len(await tokens_of(engine, request(2))) == 2
    await until(lambda: metric("num_requests_running") == 0)
    assert metric("kv_cache_usage_perc") == 0


async def test_a_reader_that_stops_reading_loses_its_place_and_holds_nothing(make_engine: MakeEngine) -> None:
    engine = make_engine(max_unread_tokens=10)
    await engine.start()
    stream = engine.generate(request(LONG))
    await anext(stream)
    await until(lambda: not engine._open)
    await until(lambda: metric("kv_cache_usage_perc") == 0)
    with pytest.raises(ResourceExhausted) as raised:
        await anext(stream)
    assert raised.value.reason == "READER_TOO_SLOW"


async def test_what_is_decoded_twice_needs_room_for_both(make_engine: MakeEngine) -> None:
    engine = make_engine(kv_cache_tokens=160)
    await engine.start()
    audio = [AudioSpan(1, np.ones((20, 64), "f4"))]
    asked = replace(request(60, audio_contrast=1.0), token_ids=list(range(30)), audio=audio)
    with pytest.raises(InvalidArgument) as raised:
        await tokens_of(engine, asked)
    assert raised.value.reason == "KV_CACHE_TOO_SMALL"
    assert raised.value.metadata == {"needed_tokens": "176", "kv_cache_tokens": "160"}
    params = replace(asked.params, max_output_tokens=40)
    assert len(await tokens_of(engine, replace(asked, params=params))) == 40
    assert metric("num_requests_running") <= 1


async def test_one_place_is_not_enough_to_decode_twice(make_engine: MakeEngine) -> None:
    engine = make_engine(max_running=1)
    await engine.start()
    asked = replace(request(5, audio_contrast=1.0), audio=[AudioSpan(1, np.ones((1, 64), "f4"))])
    with pytest.raises(InvalidArgument):
        await tokens_of(engine, asked)


async def test_thousands_of_cancels_leave_nothing_behind(make_engine: MakeEngine) -> None:
    engine = make_engine(max_running=4, max_waiting=60)
    await engine.start()
    for _ in range(40):
        readers = [asyncio.create_task(tokens_of(engine, request(LONG))) for _ in range(50)]
        await asyncio.sleep(0)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    assert not engine._open
    assert len(await tokens_of(engine, request(3))) == 3
    await until(lambda: metric("num_requests_running") + metric("num_requests_waiting") == 0)
    assert metric("kv_cache_usage_perc") == 0
