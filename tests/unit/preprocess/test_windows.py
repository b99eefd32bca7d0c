"""What is said of a window: its spectrogram, its name, its loudness and its speech."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from services.preprocess.domain import PcmFormat
from services.preprocess.sandbox import measure
from services.qwen2_audio.mel import log_mel
from tests import sounds
from tests.unit.preprocess.chain import ORDER, hear

pytestmark = pytest.mark.unit

FLOATS = replace(ORDER, pcm=PcmFormat(16_000, 1, "f32le"))


@pytest.mark.parametrize("mel_bins", [80, 128])
def test_a_window_carries_the_log_mel_of_its_samples(mel_bins: int) -> None:
    samples = sounds.voice(1.5)
    (window,), _ = hear(samples.tobytes(), replace(FLOATS, mel_bins=mel_bins))
    expected = log_mel(samples, mel_bins)
    features = np.frombuffer(window.features, "<f4").reshape(mel_bins, window.facts.stored_frames)
    np.testing.assert_array_equal(features, expected.features)
    assert (window.facts.num_frames, window.facts.num_tokens) == (150, 37)


def test_the_content_hash_names_the_samples() -> None:
    samples = sounds.tone(1.0)
    (window,), _ = hear(samples.tobytes(), FLOATS)
    assert window.facts.content_sha256 == hashlib.sha256(samples.astype("<f4").tobytes()).hexdigest()
    (other,), _ = hear((samples * 0.5).tobytes(), FLOATS)
    assert other.facts.content_sha256 != window.facts.content_sha256


def test_loudness_is_relative_to_full_scale() -> None:
    samples = sounds.tone(1.0, amplitude=0.5)
    assert measure.peak_dbfs(samples) == pytest.approx(-6.02, abs=0.01)
    assert measure.rms_dbfs(samples) == pytest.approx(-9.03, abs=0.01)
    assert measure.rms_dbfs(sounds.silence(1.0)) == measure.peak_dbfs(sounds.silence(1.0)) == -120.0
    assert measure.rms_dbfs(np.full(10, 1e-9, np.float32)) == -120.0


def test_speech_is_told_from_a_tone_and_from_silence() -> None:
    ratios = [
        hear(sound.tobytes(), FLOATS)[0][0].facts.speech_ratio
        for sound in (sounds.voice(3.0), sounds.tone(3.0), sounds.silence(3.0))
    ]
    assert ratios[0] > 0.6
    assert max(ratios[1:]) < 0.1


def test_speech_detection_begins_anew_with_each_recording() -> None:
    facts = [hear(sounds.voice(1.0).tobytes(), FLOATS)[0][0].facts for _ in range(2)]
    assert facts[0] == facts[1]


def test_a_long_recording_is_cut_between_words() -> None:
    words = np.concatenate([sounds.voice(2.2), sounds.silence(0.4), sounds.voice(2.0, 1)])
    windows, summary = hear(words.tobytes(), replace(FLOATS, max_window_seconds=3.0))
    cut = windows[1].facts.start_sample / 16_000
    assert len(windows) == 2
    assert 2.2 <= cut <= 2.6
    assert [window.facts.index for window in windows] == [0, 1]
    assert summary.num_samples == sum(window.facts.num_samples for window in windows) == len(words)
