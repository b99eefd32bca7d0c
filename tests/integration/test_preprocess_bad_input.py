"""Bad recordings through the true service: each its own reason and code, in bounded time, and the service goes on."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from auricle.v1 import audio_pb2
from tests import sounds
from tests.preprocess_server import (
    PreprocessCaller,
    RunningPreprocess,
    caller_of,
    chunk_message,
    config_message,
    running_preprocess,
)

pytestmark = pytest.mark.integration

RAW = audio_pb2.RawPcm(sample_rate_hz=16_000, channels=1, sample_format=audio_pb2.SAMPLE_FORMAT_S16LE)
SECOND = sounds.pcm16(sounds.tone(1.0))
MAX_INPUT_BYTES = 2**22


@pytest.fixture(scope="module")
def service() -> Iterator[RunningPreprocess]:
    limits = {"max_input_bytes": MAX_INPUT_BYTES, "max_duration_seconds": 60, "spool_bytes": 100_000}
    with running_preprocess(**limits, upload_stall_seconds=1.0) as service:
        yield service


@pytest.fixture
async def caller(service: RunningPreprocess) -> AsyncIterator[PreprocessCaller]:
    async with caller_of(service) as caller:
        yield caller
        # Whatever a test sent, the next recording is heard.
        heard = await caller.hear(sounds.wav(SECOND))
        assert heard.summary is not None, heard.error


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("speech.wav", bytes(2**24))
    return buffer.getvalue()


def with_nan() -> bytes:
    samples = sounds.tone(1.0).astype("<f4")
    samples[8_000] = np.nan
    return sounds.wav(samples)


def encoded(seconds: float, name: str) -> bytes:
    return sounds.encode(sounds.silence(seconds), sounds.RATE_HZ, sounds.FORMATS[name])


BAD: dict[str, tuple[Any, str]] = {
    "empty file": (b"", "AUDIO_EMPTY"),
    "text named .wav": (b"this is not audio\n" * 50, "AUDIO_FORMAT_UNSUPPORTED"),
    "zip bomb": (zip_bomb(), "AUDIO_FORMAT_UNSUPPORTED"),
    "no samples": (sounds.wav(SECOND[:0]), "AUDIO_EMPTY"),
    "0 Hz": (sounds.wav(SECOND, 0), "AUDIO_SAMPLE_RATE_INVALID"),
    "1,000 channels": (sounds.wav(SECOND, channels=1000), "AUDIO_CHANNELS_INVALID"),
    "NaN": (with_nan(), "AUDIO_SAMPLES_INVALID"),
    "20 ms": (sounds.wav(SECOND[:320]), "AUDIO_TOO_SHORT"),
    "video without sound": (lambda: sounds.video(with_sound=False), "AUDIO_STREAM_MISSING"),
    "decodes to more than the limit": (lambda: encoded(90.0, "ogg opus"), "AUDIO_TOO_LONG"),
    "MP4 cut before its index": (lambda: encoded(3.0, "m4a")[:-2000], "AUDIO_MALFORMED"),
    "spool too small": (lambda: sounds.encode(sounds.noisy_tone(10), 16_000, sounds.FORMATS["m4a"]), "AUDIO_TOO_LARGE"),
    "more bytes than taken": (lambda: sounds.wav(np.zeros(MAX_INPUT_BYTES, "<i2"), 192_000), "AUDIO_TOO_LARGE"),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_recording_is_refused_with_its_reason(caller: PreprocessCaller, what: str) -> None:
    data, reason = BAD[what]
    heard = await caller.hear(data() if callable(data) else data)
    assert heard.error is not None
    assert (heard.reason, heard.error.code) == (reason, grpc.StatusCode.INVALID_ARGUMENT)
    assert heard.error.message
    assert heard.seconds < 10


async def test_a_refusal_reaches_callers_in_the_middle_of_a_large_upload(caller: PreprocessCaller) -> None:
    text = b"this is not audio\n" * 200_000
    for _ in range(4):
        heard = await asyncio.gather(*(caller.hear(text) for _ in range(4)))
        assert [one.reason for one in heard] == ["AUDIO_FORMAT_UNSUPPORTED"] * 4


async def test_headerless_samples_of_zero_length_are_empty(caller: PreprocessCaller) -> None:
    assert (await caller.hear(b"", raw_pcm=RAW)).reason == "AUDIO_EMPTY"


async def test_31_seconds_are_refused_where_one_window_is_wanted(caller: PreprocessCaller) -> None:
    heard = await caller.hear(bytes(31 * 32_000), raw_pcm=RAW, single_window=True)
    assert heard.reason == "AUDIO_TOO_LONG"
    assert heard.error is not None
    assert "job" in heard.error.message
    assert heard.error.metadata == {"limit_seconds": "30"}
    assert heard.windows == []


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "CONFIG_MISSING"),
        ([chunk_message(b"RIFF")], "CONFIG_MISSING"),
        ([config_message(), config_message()], "CHUNK_MISSING"),
        ([config_message(), chunk_message(b"")], "CHUNK_SIZE_INVALID"),
        ([config_message(), chunk_message(bytes(2**20 + 1))], "CHUNK_SIZE_INVALID"),
        ([config_message(mel_bins=40)], "CONFIG_INVALID"),
        ([config_message(max_window_seconds=31.0)], "CONFIG_INVALID"),
    ],
)
async def test_a_call_out_of_order_is_refused(caller: PreprocessCaller, messages: list[Any], reason: str) -> None:
    heard = await caller.hear_messages(messages)
    assert heard.reason == reason
    assert heard.error is not None
    assert heard.error.violations


@pytest.mark.parametrize("messages", [[], [config_message()], [config_message(raw_pcm=RAW), chunk_message(bytes(99))]])
async def test_a_caller_who_falls_silent_is_told(caller: PreprocessCaller, messages: list[Any]) -> None:
    call = caller.call()
    for message in messages:
        await call.write(message)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asyncio.wait_for(call.read(), 10)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
