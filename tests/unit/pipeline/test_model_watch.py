"""The served model: known at once, checked again when a half may have changed, refused when the halves differ."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from auricle.v1 import decoder_pb2
from services.common.errors import FailedPrecondition, Unavailable
from services.pipeline.encoder_client import EncoderInfo
from services.pipeline.model_watch import ModelWatch

pytestmark = pytest.mark.unit


class Half:
    """Encoder and decoder at once, as far as a watch asks them."""

    def __init__(self, fingerprint: str = "f1") -> None:
        self.fingerprint = fingerprint
        self.ready = True
        self.online = True
        self.error: Exception | None = None
        self.delay_seconds = 0.0
        self.asked = 0

    def connected(self) -> bool:
        return self.online

    async def describe(self) -> Any:
        self.asked += 1
        await asyncio.sleep(self.delay_seconds)
        if self.error:
            raise self.error
        return self._description()

    def _description(self) -> Any:
        raise NotImplementedError


class EncoderHalf(Half):
    def _description(self) -> EncoderInfo:
        return EncoderInfo(self.fingerprint, 3, 80, 8, self.ready)


class DecoderHalf(Half):
    def _description(self) -> decoder_pb2.DescribeDecoderResponse:
        return decoder_pb2.DescribeDecoderResponse(
            model="toy", fingerprint=self.fingerprint, hidden_size=8, context_tokens=2048, mel_bins=80
        )


class Watched:
    def __init__(self) -> None:
        self.encoder, self.decoder = EncoderHalf(), DecoderHalf()
        self.watch = ModelWatch(self.encoder, self.decoder, interval_seconds=0.05, patience_seconds=0.3)


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    made = Watched()
    yield made
    await made.watch.close()


async def test_the_model_is_asked_for_once_and_then_known(watched: Watched) -> None:
    models = [await watched.watch.current() for _ in range(5)]
    assert {(model.name, model.fingerprint, model.encoder_version, model.context_tokens) for model in models} == {
        ("toy", "f1", 3, 2048)
    }
    assert watched.encoder.asked == watched.decoder.asked == 1


async def test_callers_at_the_same_time_share_one_question(watched: Watched) -> None:
    watched.decoder.delay_seconds = 0.05
    await asyncio.gather(*(watched.watch.current() for _ in range(20)))
    assert watched.decoder.asked == 1


async def test_halves_of_different_models_are_refused_and_both_are_named(watched: Watched) -> None:
    watched.decoder.fingerprint = "f2"
    with pytest.raises(FailedPrecondition) as raised:
        await watched.watch.current()
    assert raised.value.reason == "MODEL_MISMATCH"
    assert raised.value.metadata == {"encoder": "f1", "decoder": "f2"}


async def test_a_lost_connection_makes_the_next_caller_ask_again(watched: Watched) -> None:
    await watched.watch.current()
    watched.decoder.fingerprint = "f2"
    await watched.watch.current()
    watched.decoder.online = False
    with pytest.raises(FailedPrecondition):
        await watched.watch.current()


async def test_what_was_forgotten_is_asked_again(watched: Watched) -> None:
    await watched.watch.current()
    watched.encoder.fingerprint = "f2"
    watched.watch.forget()
    with pytest.raises(FailedPrecondition):
        await watched.watch.current()


async def test_regular_asking_sees_a_change_that_no_call_noticed(watched: Watched) -> None:
    watched.watch.start()
    await watched.watch.current()
    watched.encoder.fingerprint = "f2"
    await asyncio.sleep(0.15)
    with pytest.raises(FailedPrecondition):
        await watched.watch.current()
    watched.decoder.fingerprint = "f2"
    await asyncio.sleep(0.15)
    assert (await watched.watch.current()).fingerprint == "f2"


@pytest.mark.parametrize("fault", [Unavailable("gone"), RuntimeError("nonsense"), None])
async def test_a_half_that_does_not_answer_is_unavailable_with_a_time_to_retry(
    watched: Watched, fault: Exception | None
) -> None:
    watched.encoder.error = fault
    watched.encoder.delay_seconds = 0 if fault else 5
    with pytest.raises(Unavailable) as raised:
        await watched.watch.current()
    assert raised.value.retry_after_seconds
    watched.encoder.error, watched.encoder.delay_seconds = None, 0
    assert (await watched.watch.current()).name == "toy"


async def test_a_half_too_busy_to_answer_is_taken_to_serve_what_it_served(watched: Watched) -> None:
    await watched.watch.current()
    watched.decoder.delay_seconds = 5
    watched.watch.start()
    await asyncio.sleep(0.5)
    assert watched.decoder.asked > 1
    assert (await watched.watch.current()).name == "toy"


async def test_a_half_that_comes_up_while_it_is_asked_is_waited_for(watched: Watched) -> None:
    watched.encoder.error = Unavailable("gone")
    asked = asyncio.create_task(watched.watch.current())
    await asyncio.sleep(0.15)
    watched.encoder.error = None
    assert (await asked).name == "toy"


@pytest.mark.parametrize("half", ["encoder", "decoder"])
async def test_a_half_that_still_loads_is_unavailable_and_no_mismatch(watched: Watched, half: str) -> None:
    if half == "encoder":
        watched.encoder.ready = False
    else:
        watched.decoder.fingerprint = ""
    with pytest.raises(Unavailable):
        await watched.watch.current()
