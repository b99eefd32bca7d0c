"""Every format is heard whole, and a file that was cut on its way says so."""

from dataclasses import replace

import numpy as np
import pytest

from services.preprocess.domain import PcmFormat, Reason, Summary
from services.preprocess.sandbox.sniff import id3v2_bytes
from tests import sounds
from tests.unit.preprocess.chain import LIMITS, ORDER, hear, refusal

pytestmark = pytest.mark.unit

SECONDS = 3.0
SOUND = sounds.noisy_tone(SECONDS)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {name: sounds.encode(SOUND, sounds.RATE_HZ, form) for name, form in sounds.FORMATS.items()}


def pitch_hz(features: bytes, mel_bins: int = 80) -> int:
    """The loudest mel bin, which names a tone's pitch."""
    mel = np.frombuffer(features, "<f4").reshape(mel_bins, -1)
    return int(mel[:, 20:-20].mean(axis=1).argmax())


@pytest.mark.parametrize("name", sounds.FORMATS)
def test_a_file_is_heard_whole_as_one_window(files: dict[str, bytes], name: str) -> None:
    form = sounds.FORMATS[name]
    (window,), summary = hear(files[name])
    tolerance_seconds = 0.002 if form.exact_ends else 0.1
    assert abs(window.facts.num_samples / 16_000 - SECONDS) <= tolerance_seconds
    assert summary.num_samples == window.facts.num_samples
    assert (summary.sample_rate_hz, summary.channels) == (form.rate_hz, form.channels)
    assert summary.damages == ()
    assert window.facts.peak_dbfs == pytest.approx(-9.0, abs=2.5)
    reference = hear(sounds.wav(sounds.pcm16(SOUND)))[0][0]
    assert pitch_hz(window.features) == pitch_hz(reference.features)


@pytest.mark.parametrize("name", sounds.FORMATS)
@pytest.mark.parametrize("part", [0.613, 0.937])
def test_a_truncated_file_is_never_heard_in_silence(files: dict[str, bytes], name: str, part: float) -> None:
    cut = files[name][: int(len(files[name]) * part)]
    if name in ("m4a", "m4a lossless"):
        # The index stood in the part that is missing, so nothing can be decoded.
        assert refusal(cut).reason is Reason.AUDIO_MALFORMED
        return
    _, summary = hear(cut)
    assert 0.2 * SECONDS < summary.num_samples / 16_000 < SECONDS
    end = max(damage.at_seconds for damage in summary.damages)
    assert end == pytest.approx(summary.num_samples / 16_000, abs=0.1)


@pytest.mark.parametrize("chunk_bytes", [1, 977, 2**20])
@pytest.mark.parametrize("name", ["wav", "mp3", "ogg opus", "webm live", "mp4 fragmented"])
def test_the_cut_into_chunks_changes_nothing(files: dict[str, bytes], name: str, chunk_bytes: int) -> None:
    data = files[name][:150_000] if chunk_bytes == 1 else files[name]
    assert facts(hear(data, chunk_bytes=chunk_bytes)) == facts(hear(data))


def facts(heard: tuple) -> tuple:
    windows, summary = heard
    return [window.facts for window in windows], replace(summary, compute_ms=0.0)


def test_channels_are_averaged() -> None:
    left, right = sounds.tone(1.0, amplitude=0.8), sounds.silence(1.0)
    stereo = hear(sounds.wav(sounds.pcm16(np.stack([left, right], axis=1)), channels=2))[0][0].facts
    mono = hear(sounds.wav(sounds.pcm16(left / 2)))[0][0].facts
    assert stereo.rms_dbfs == pytest.approx(mono.rms_dbfs, abs=0.01)


def test_sixty_four_channels_are_heard() -> None:
    many = np.repeat(sounds.pcm16(sounds.tone(0.5))[:, None], 64, axis=1)
    assert hear(sounds.wav(many, channels=64))[1].channels == 64


@pytest.mark.parametrize("rate_hz", [1_000, 8_000, 22_050, 44_100, 192_000, 384_000])
def test_any_rate_becomes_16_khz(rate_hz: int) -> None:
    facts = hear(sounds.wav(sounds.pcm16(sounds.tone(1.0, rate_hz, 200.0)), rate_hz))[0][0].facts
    assert abs(facts.num_samples - 16_000) <= 1
    assert facts.rms_dbfs == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=0.2)


@pytest.mark.parametrize(
    ("sample_format", "samples"),
    [
        ("s16le", sounds.pcm16(SOUND)),
        ("s32le", np.round(SOUND.astype(np.float64) * (2**31 - 1)).astype("<i4")),
        ("f32le", SOUND.astype("<f4")),
    ],
)
def test_headerless_samples_are_heard_as_the_order_describes_them(sample_format: str, samples: np.ndarray) -> None:
    order = replace(ORDER, pcm=PcmFormat(16_000, 1, sample_format))
    (window,), summary = hear(samples.tobytes(), order)
    assert window.facts.num_samples == len(SOUND)
    assert window.facts.rms_dbfs == pytest.approx(20 * np.log10(np.std(SOUND)), abs=0.01)
    assert (summary.container, summary.codec) == ("pcm", f"pcm_{sample_format}")


def test_an_odd_byte_at_the_end_of_headerless_samples_is_told() -> None:
    order = replace(ORDER, pcm=PcmFormat(16_000, 2, "s16le"))
    _, summary = hear(sounds.pcm16(SOUND).tobytes() + b"abc", order)
    assert summary.num_samples == len(SOUND) // 2
    assert summary.damages[0].at_seconds == pytest.approx(SECONDS / 2)


def test_a_wav_of_unknown_length_is_whole() -> None:
    for unknown in (0, 0xFFFFFFFF):
        _, summary = hear(sounds.wav(sounds.pcm16(SOUND), data_bytes=unknown))
        assert (summary.num_samples, summary.damages) == (len(SOUND), ())


def test_the_sound_of_a_video_is_heard() -> None:
    _, summary = hear(sounds.video(with_sound=True))
    assert summary.codec == "aac"
    assert summary.num_samples / 16_000 == pytest.approx(2.0, abs=0.1)


def test_an_mp4_with_its_index_last_is_spooled_up_to_the_limit(files: dict[str, bytes]) -> None:
    assert hear(files["m4a"])[1].damages == ()
    refused = refusal(files["m4a"], limits=replace(LIMITS, spool_bytes=10_000))
    assert (refused.reason, refused.metadata) == (Reason.AUDIO_TOO_LARGE, {"limit_bytes": "10000"})
    _, streamed = hear(files["m4a index first"], limits=replace(LIMITS, spool_bytes=0))
    assert isinstance(streamed, Summary)


def test_damage_in_the_middle_is_skipped_and_placed(files: dict[str, bytes]) -> None:
    damaged = bytearray(files["flac"])
    middle = len(damaged) // 2
    damaged[middle : middle + 60] = bytes(60)
    (window,), summary = hear(bytes(damaged))
    assert SECONDS - 0.3 < window.facts.num_samples / 16_000 <= SECONDS
    assert 1.0 < summary.damages[0].at_seconds < 2.0


@pytest.mark.parametrize("name", ["flac", "mp3", "aac"])
@pytest.mark.parametrize("tag_bytes", [50, 100_000])
def test_a_tag_before_the_sound_is_no_hindrance(files: dict[str, bytes], name: str, tag_bytes: int) -> None:
    size = bytes([0, tag_bytes >> 14 & 0x7F, tag_bytes >> 7 & 0x7F, tag_bytes & 0x7F])
    tag = b"ID3\x04\x00\x00" + size + bytes(tag_bytes)
    plain = files[name][id3v2_bytes(files[name]) :]
    (window,), summary = hear(tag + plain)
    assert summary.container == name
    assert summary.damages == ()
    assert window.facts.content_sha256 == hear(plain)[0][0].facts.content_sha256
