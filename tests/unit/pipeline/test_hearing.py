"""From recordings to embeddings: order, bounds, budgets, and errors that end the rest at once."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.common.channels import connect
from services.common.errors import AuricleError, Internal, InvalidArgument, ResourceExhausted, Unavailable
from services.pipeline.conversation import AudioInput, chunked
from services.pipeline.hearing import HeardAudio, HearingLimits, Listener
from services.pipeline.model_watch import ServedModel
from services.pipeline.preprocess_client import PreprocessClient
from services.pipeline.timing import RequestClock
from tests.platform_fakes import (
    HIDDEN_SIZE,
    MEL_BINS,
    FakeEncoder,
    FakePreprocess,
    mark,
    recording,
    serve_preprocess,
    until,
)

pytestmark = pytest.mark.unit


class Ears:
    """A listener without a cache before the fake services."""

    def __init__(self, preprocess: FakePreprocess, client: PreprocessClient) -> None:
        self.preprocess = preprocess
        self.encoder = FakeEncoder()
        self.client = client
        self.clock = RequestClock()

    async def encoding(self) -> bool:
        return self.encoder.running > 0

    async def hear(self, *audios: AudioInput, context_tokens: int = 2048, **limits: int) -> list[HeardAudio]:
        model = ServedModel("toy", "f1", MEL_BINS, HIDDEN_SIZE, context_tokens, encoder_version=1)
        listener = Listener(self.client, self.encoder, None, HearingLimits(**limits))
        return await listener.hear(audios, model, self.clock)


@pytest.fixture
async def ears() -> AsyncIterator[Ears]:
    preprocess = FakePreprocess()
    async with serve_preprocess(preprocess) as server:
        async with connect(f"127.0.0.1:{server.port}", max_message_bytes=2**24) as channel:
            yield Ears(preprocess, PreprocessClient(channel))


def clip(content: str, *windows: float, chunk_bytes: int = 2**18) -> AudioInput:
    data = recording(content, *windows)
    return AudioInput(f"clip {content}", lambda: chunked(data, chunk_bytes))


def marks(heard: HeardAudio) -> list[int]:
    return [int(window.embeddings[0, 0]) for window in heard.windows]


async def test_recordings_and_their_windows_come_back_in_order(ears: Ears) -> None:
    heard = await ears.hear(clip("a", 1, 2, 3), clip("b", 2), clip("c", 1, 1))
    expected = [[mark("a", 0), mark("a", 1), mark("a", 2)], [mark("b")], [mark("c", 0), mark("c", 1)]]
    assert [marks(audio) for audio in heard] == expected
    assert [len(window.embeddings) for window in heard[0].windows] == [25, 50, 75]
    assert ears.clock.preprocess.compute_ms == 6.0
    assert ears.clock.encoder.compute_ms == 18.0
    assert ears.clock.encoder.wall_ms > 0


async def test_windows_are_encoded_side_by_side_up_to_the_limit(ears: Ears) -> None:
    await ears.hear(clip("a", *[1.0] * 9), windows=3)
    assert ears.encoder.most_running == 3


async def test_recordings_are_preprocessed_side_by_side_up_to_the_limit(ears: Ears) -> None:
    ears.preprocess.stall = "a"
    hearing = asyncio.ensure_future(ears.hear(clip("a"), clip("b"), clip("c"), parts=1))
    await ears.preprocess.stalled.wait()
    await asyncio.sleep(0.1)
    assert len(ears.preprocess.seen) == 1
    hearing.cancel()
    await asyncio.wait([hearing])


async def test_an_error_of_one_recording_ends_the_others_at_once(ears: Ears) -> None:
    ears.preprocess.stall = "a"
    ears.encoder.hold = asyncio.Event()
    bad = AudioInput("bad clip", lambda: chunked(b"no audio", 4))
    start = time.monotonic()
    with pytest.raises(InvalidArgument) as raised:
        await ears.hear(clip("a"), bad)
    assert time.monotonic() - start < 2
    assert raised.value.reason == "AUDIO_FORMAT_UNSUPPORTED"
    assert raised.value.metadata == {"first": b"no a".hex(), "field": "bad clip"}
    await asyncio.wait_for(ears.preprocess.cancelled.wait(), 5)


async def test_an_error_of_the_encoder_ends_the_others_at_once(ears: Ears) -> None:
    ears.preprocess.stall = "a"
    ears.encoder.error = ResourceExhausted("full", reason="ENCODER_QUEUE_FULL", retry_after_seconds=1)
    with pytest.raises(ResourceExhausted) as raised:
        await ears.hear(clip("a"))
    assert raised.value.reason == "ENCODER_QUEUE_FULL"
    await asyncio.wait_for(ears.preprocess.cancelled.wait(), 5)


async def test_leaving_cancels_preprocess_and_encoder(ears: Ears) -> None:
    ears.preprocess.stall = "a"
    ears.encoder.hold = asyncio.Event()
    hearing = asyncio.ensure_future(ears.hear(clip("a")))
    await ears.preprocess.stalled.wait()
    await until(ears.encoding)
    hearing.cancel()
    await asyncio.wait([hearing])
    assert hearing.cancelled()
    assert ears.encoder.cancelled == 1
    await asyncio.wait_for(ears.preprocess.cancelled.wait(), 5)


async def test_audio_past_the_context_is_refused_before_the_rest_is_heard(ears: Ears) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await ears.hear(clip("a", *[1.0] * 50), context_tokens=101, windows=1)
    assert raised.value.reason == "PROMPT_TOO_LONG"
    assert "about 4 s" in raised.value.message
    assert "job" in raised.value.message
    assert raised.value.metadata["limit_tokens"] == "100"
    assert len(ears.encoder.encoded) <= 4


async def test_a_refused_recording_is_not_preprocessed_further(ears: Ears) -> None:
    ears.preprocess.stall = "a"
    with pytest.raises(InvalidArgument):
        await ears.hear(clip("a"), context_tokens=10)
    await asyncio.wait_for(ears.preprocess.cancelled.wait(), 5)


async def test_all_recordings_share_one_budget(ears: Ears) -> None:
    await ears.hear(clip("a", 2), clip("b", 2), context_tokens=101)
    with pytest.raises(InvalidArgument):
        await ears.hear(clip("a", 2), clip("b", 2), clip("c", 1), context_tokens=101)


async def test_embeddings_that_would_not_fit_one_message_are_refused(ears: Ears) -> None:
    tokens = 50
    await ears.hear(clip("a", 2), embedding_bytes=tokens * HIDDEN_SIZE * 4)
    with pytest.raises(InvalidArgument) as raised:
        await ears.hear(clip("a", 2), embedding_bytes=tokens * HIDDEN_SIZE * 4 - 1)
    assert raised.value.reason == "PROMPT_TOO_LONG"


async def test_the_recording_travels_in_chunks(ears: Ears) -> None:
    data = recording("a") + b" " * 1000
    await ears.hear(AudioInput("clip", lambda: chunked(data, 256)))
    assert ears.preprocess.seen[0].chunk_bytes == [256, 256, 256, 256, len(data) - 1024]


@pytest.mark.parametrize(
    ("fault", "raised_type"), [(Unavailable("the store failed"), Unavailable), (OSError("disk"), Internal)]
)
async def test_a_source_that_breaks_is_an_error_and_no_cancellation(
    ears: Ears, fault: Exception, raised_type: type[AuricleError]
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"{"
        raise fault

    with pytest.raises(raised_type) as raised:
        await asyncio.wait_for(ears.hear(AudioInput("clip x", broken)), 5)
    assert "clip x" in str(raised.value.metadata) + raised.value.message


async def test_a_recording_refused_while_it_is_sent_is_never_our_fault() -> None:
    class Hasty(FakePreprocess):
        async def _receive(self, requests: Any) -> Any:
            await anext(aiter(requests))
            raise InvalidArgument("no", reason="AUDIO_FORMAT_UNSUPPORTED")

    async with serve_preprocess(Hasty()) as server:
        async with connect(f"127.0.0.1:{server.port}", max_message_bytes=2**24) as channel:
            ears = Ears(Hasty(), PreprocessClient(channel))
            for _ in range(10):
                with pytest.raises((InvalidArgument, Unavailable)):
                    await ears.hear(AudioInput("clip", lambda: chunked(bytes(8 * 2**20), 2**16)))


async def test_an_encoder_that_serves_another_version_meanwhile_is_not_believed(ears: Ears) -> None:
    ears.encoder.version = 2
    with pytest.raises(Unavailable):
        await ears.hear(clip("a"))


async def test_an_encoder_that_answers_the_wrong_shape_is_not_believed(ears: Ears) -> None:
    encode = ears.encoder.encode

    class Short(FakeEncoder):
        async def encode(self, features: Any, num_frames: int, **options: Any) -> Any:
            return await encode(features, num_frames - 4, **options)

    ears.encoder = Short()
    with pytest.raises(Internal):
        await ears.hear(clip("a"))
