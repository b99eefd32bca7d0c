"""What cannot be heard is refused, each kind with its own reason, before it costs much."""

import gzip
import io
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from services.preprocess.domain import PcmFormat, Reason
from tests import sounds
from tests.unit.preprocess.chain import LIMITS, ORDER, hear, refusal

pytestmark = pytest.mark.unit

SECOND = sounds.pcm16(sounds.tone(1.0))
PCM = replace(ORDER, pcm=PcmFormat(16_000, 1, "s16le"))


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("speech.wav", sounds.wav(np.zeros(2**22, "<i2")))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"RIFF is what this text begins with, and WAVE it is not.\n" * 20, "text"),
        (b"just a text named speech.wav\n", "text"),
        (zip_bomb(), "a ZIP archive"),
        (gzip.compress(sounds.wav(SECOND)), "a gzip archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
        (b"\xff\xfeh\x00i\x00" * 100, "no format"),
        (bytes(5000), "no format"),
        (b"\x7f", "no format"),
    ],
)
def test_what_is_no_audio_file_is_unsupported(data: bytes, words: str) -> None:
    refused = refusal(data)
    assert refused.reason is Reason.AUDIO_FORMAT_UNSUPPORTED
    assert words in refused.message


def test_no_bytes_are_empty() -> None:
    assert refusal(b"").reason is Reason.AUDIO_EMPTY


def test_headerless_samples_of_zero_length_are_empty() -> None:
    assert refusal(b"", PCM).reason is Reason.AUDIO_EMPTY


def test_a_header_without_samples_is_empty() -> None:
    assert refusal(sounds.wav(np.zeros(0, "<i2"))).reason is Reason.AUDIO_EMPTY


@pytest.mark.parametrize("rate_hz", [0, 999, 384_001, 4_000_000_000])
def test_a_rate_that_cannot_be_is_named(rate_hz: int) -> None:
    refused = refusal(sounds.wav(SECOND, rate_hz))
    assert refused.reason is Reason.AUDIO_SAMPLE_RATE_INVALID
    assert refused.metadata == {"sample_rate_hz": str(rate_hz)}


@pytest.mark.parametrize("channels", [0, 65, 1000])
def test_a_number_of_channels_that_cannot_be_is_named(channels: int) -> None:
    refused = refusal(sounds.wav(SECOND, channels=channels))
    assert refused.reason is Reason.AUDIO_CHANNELS_INVALID
    assert refused.metadata == {"channels": str(channels)}


def test_limits_hold_for_files_without_a_wav_header_too() -> None:
    flac = sounds.encode(sounds.tone(1.0), sounds.RATE_HZ, sounds.FORMATS["flac"])
    assert refusal(flac, limits=replace(LIMITS, max_channels=1)).reason is Reason.AUDIO_CHANNELS_INVALID
    assert refusal(flac, limits=replace(LIMITS, max_sample_rate_hz=8_000)).reason is Reason.AUDIO_SAMPLE_RATE_INVALID


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e6])
def test_samples_that_are_no_sound_are_refused_with_their_place(value: float) -> None:
    samples = sounds.tone(3.0).astype("<f4")
    samples[40_000] = value
    for data, order in (
        (sounds.wav(samples), ORDER),
        (samples.tobytes(), replace(PCM, pcm=PcmFormat(16_000, 1, "f32le"))),
    ):
        refused = refusal(data, order)
        assert refused.reason is Reason.AUDIO_SAMPLES_INVALID
        assert float(refused.metadata["at_seconds"]) == pytest.approx(2.5, abs=0.6)


def test_float_samples_beyond_full_scale_are_heard() -> None:
    (window,), _ = hear(sounds.wav(2 * sounds.tone(1.0, amplitude=1.0).astype("<f4")))
    assert window.facts.peak_dbfs == pytest.approx(6.02, abs=0.01)


@pytest.mark.parametrize("num_samples", [1, 160, 320])
def test_sound_without_an_audio_token_is_too_short(num_samples: int) -> None:
    refused = refusal(SECOND[:num_samples].tobytes(), PCM)
    assert refused.reason is Reason.AUDIO_TOO_SHORT
    assert refused.metadata == {"duration_ms": f"{num_samples / 16:.1f}"}


def test_the_shortest_sound_with_a_token_is_heard() -> None:
    (window,), _ = hear(SECOND[:321].tobytes(), PCM)
    assert window.facts.num_tokens == 1


def test_a_video_without_sound_has_no_audio_stream() -> None:
    assert refusal(sounds.video(with_sound=False)).reason is Reason.AUDIO_STREAM_MISSING


def test_a_codec_that_is_not_listed_is_never_opened() -> None:
    surround = sounds.Format("matroska", "ac3", 48_000)
    refused = refusal(sounds.encode(sounds.tone(1.0), sounds.RATE_HZ, surround))
    assert refused.reason is Reason.AUDIO_CODEC_UNSUPPORTED
    assert refused.metadata == {"codec": "ac3"}


@pytest.mark.parametrize(
    "head", [b"RIFF\x00\x00\x00\x00WAVE", b"fLaC", b"OggS", b"\x1a\x45\xdf\xa3", b"ID3\x04\x00\x00\x00\x00\x00\x10"]
)
def test_a_magic_number_with_noise_behind_it_is_malformed_or_empty(head: bytes) -> None:
    noise = np.random.default_rng(1).bytes(20_000)
    assert refusal(head + noise).reason in (Reason.AUDIO_MALFORMED, Reason.AUDIO_EMPTY)
    assert refusal(head).reason in (Reason.AUDIO_MALFORMED, Reason.AUDIO_EMPTY)


def test_thirty_one_seconds_are_refused_where_one_window_is_wanted() -> None:
    order = replace(PCM, single_window=True)
    refused = refusal(bytes(2 * 31 * 16_000), order)
    assert refused.reason is Reason.AUDIO_TOO_LONG
    assert "job API" in refused.message
    (window,), _ = hear(bytes(2 * 30 * 16_000), order)
    assert window.facts.num_samples == 30 * 16_000


def test_a_recording_longer_than_the_order_allows_is_refused_while_it_decodes() -> None:
    order = replace(ORDER, max_duration_seconds=5.0)
    refused = refusal(sounds.wav(sounds.pcm16(sounds.silence(6.0))), order)
    assert (refused.reason, refused.metadata) == (Reason.AUDIO_TOO_LONG, {"limit_seconds": "5"})


def test_a_small_file_that_decodes_to_hours_is_stopped_at_the_limit() -> None:
    bomb = sounds.encode(sounds.silence(1200.0), sounds.RATE_HZ, sounds.Format("flac", "flac", 16_000, 1))
    assert len(bomb) < 250_000
    start = time.process_time()
    refused = refusal(bomb, replace(ORDER, max_duration_seconds=20.0))
    assert refused.reason is Reason.AUDIO_TOO_LONG
    assert time.process_time() - start < 5
