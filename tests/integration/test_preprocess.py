"""The preprocess service over gRPC: every format, whole and live, as windows and a summary."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator

import grpc
import numpy as np
import pytest

from auricle.v1 import audio_pb2
from services.common import tensors
from services.qwen2_audio.mel import log_mel
from tests import sounds
from tests.preprocess_server import (
    PreprocessCaller,
    RunningPreprocess,
    caller_of,
    chunk_message,
    config_message,
    rest_of,
    running_preprocess,
    until,
)

pytestmark = pytest.mark.integration

FLOATS = audio_pb2.RawPcm(sample_rate_hz=16_000, channels=1, sample_format=audio_pb2.SAMPLE_FORMAT_F32LE)


@pytest.fixture(scope="module")
def service() -> Iterator[RunningPreprocess]:
    with running_preprocess() as service:
        yield service


@pytest.fixture
async def caller(service: RunningPreprocess) -> AsyncIterator[PreprocessCaller]:
    async with caller_of(service) as caller:
        yield caller


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    sound = sounds.noisy_tone(2.0)
    return {name: sounds.encode(sound, sounds.RATE_HZ, form) for name, form in sounds.FORMATS.items()}


@pytest.mark.parametrize("name", sounds.FORMATS)
async def test_every_format_passes_the_sandbox(caller: PreprocessCaller, files: dict[str, bytes], name: str) -> None:
    form = sounds.FORMATS[name]
    heard = await caller.hear(files[name])
    (window,), summary = heard.windows, heard.summary
    assert heard.error is None
    assert summary is not None
    assert summary.heard_seconds == summary.received_seconds == window.window.duration_seconds
    assert summary.heard_seconds == pytest.approx(2.0, abs=0.1)
    assert summary.received_bytes == len(files[name])
    assert (summary.sample_rate_hz, summary.channels) == (form.rate_hz, form.channels)
    assert list(summary.warnings) == []
    assert summary.compute_ms > 0


@pytest.mark.parametrize("mel_bins", [80, 128])
async def test_a_window_tells_all_of_itself(caller: PreprocessCaller, mel_bins: int) -> None:
    samples = sounds.voice(3.0)
    heard = await caller.hear(samples.tobytes(), mel_bins=mel_bins, raw_pcm=FLOATS)
    (window,) = heard.windows
    expected = log_mel(samples, mel_bins)
    features = tensors.from_proto(window.log_mel.features, "features")
    np.testing.assert_allclose(features, expected.features, atol=1e-5)
    assert (window.log_mel.num_frames, window.log_mel.num_tokens) == (300, 75)
    assert window.window.content_sha256 == hashlib.sha256(samples.tobytes()).digest()
    assert window.window.speech_ratio > 0.5
    assert window.window.peak_dbfs == pytest.approx(20 * np.log10(np.abs(samples).max()), abs=0.01)
    assert window.window.rms_dbfs == pytest.approx(10 * np.log10(np.mean(samples**2)), abs=0.01)


async def test_windows_come_back_while_later_audio_still_arrives(caller: PreprocessCaller) -> None:
    call = caller.call()
    voice = sounds.voice(7.0)
    await call.write(config_message(raw_pcm=FLOATS, max_window_seconds=2.0))
    await call.write(chunk_message(voice[: 3 * 16_000].tobytes()))
    first = await asyncio.wait_for(call.read(), 10)
    assert first.window.window.duration_seconds <= 2.0
    await call.write(chunk_message(voice[3 * 16_000 :].tobytes()))
    await call.done_writing()
    rest = await rest_of(call)
    assert [response.window.window.index for response in rest[:-1]] == list(range(1, len(rest)))
    assert rest[-1].summary.heard_seconds == pytest.approx(7.0)


async def test_windows_join_without_gap(caller: PreprocessCaller) -> None:
    heard = await caller.hear(sounds.voice(10.0).tobytes(), raw_pcm=FLOATS, max_window_seconds=3.0)
    end = 0.0
    for window in heard.windows:
        assert window.window.start_seconds == pytest.approx(end)
        assert window.window.duration_seconds <= 3.0
        end += window.window.duration_seconds
    assert end == pytest.approx(10.0)
    assert len(heard.windows) >= 4


async def test_a_truncated_mp3_is_heard_and_told(caller: PreprocessCaller, files: dict[str, bytes]) -> None:
    heard = await caller.hear(files["mp3"][: len(files["mp3"]) // 2])
    assert heard.summary is not None
    assert heard.summary.heard_seconds == pytest.approx(1.0, abs=0.1)
    (warning,) = heard.summary.warnings
    assert warning.at_seconds == pytest.approx(1.0, abs=0.1)
    assert "promises" in warning.message


async def test_recordings_side_by_side_do_not_mix(caller: PreprocessCaller) -> None:
    voices = [sounds.voice(1.0, seed) for seed in range(8)]
    heard = await asyncio.gather(*(caller.hear(voice.tobytes(), raw_pcm=FLOATS) for voice in voices))
    hashes = [one.windows[0].window.content_sha256 for one in heard]
    assert hashes == [hashlib.sha256(voice.tobytes()).digest() for voice in voices]


async def test_a_child_hears_one_recording_only(service: RunningPreprocess, caller: PreprocessCaller) -> None:
    before = service.children()
    for _ in range(3):
        await caller.hear(sounds.voice(0.5).tobytes(), raw_pcm=FLOATS)
    assert not before & service.children()


async def test_children_stand_ready_in_advance(service: RunningPreprocess, caller: PreprocessCaller) -> None:
    await until(lambda: len(service.children()) == 2)
    call = caller.call()
    await call.write(config_message(raw_pcm=FLOATS))
    await call.write(chunk_message(bytes(64_000)))
    await until(lambda: len(service.children()) == 3)
    call.cancel()
    await until(lambda: len(service.children()) == 2)


async def test_a_deadline_ends_the_call_and_its_child(service: RunningPreprocess, caller: PreprocessCaller) -> None:
    await until(lambda: len(service.children()) == 2)
    call = caller.call(timeout=0.5)
    await call.write(config_message(raw_pcm=FLOATS))
    await until(lambda: len(service.children()) == 3)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: len(service.children()) == 2)
