"""Log-mel features equal WhisperFeatureExtractor's, frame by frame, halo included."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import Qwen2AudioEncoder, Qwen2AudioEncoderConfig, WhisperFeatureExtractor

from services.qwen2_audio import mel

pytestmark = pytest.mark.unit

EXTRACTORS = {bins: WhisperFeatureExtractor(feature_size=bins) for bins in (80, 128)}
EDGE_LENGTHS = (1, 159, 160, 161, 199, 200, 201, 320, 321, 16_000, 479_199, 479_840, 479_841, 479_999, 480_000)


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def voice_like(samples: int) -> NDArray[np.float32]:
    """Harmonics that glide and fade: a wide dynamic range within and between frames."""
    seconds = np.arange(samples) / mel.SAMPLE_RATE_HZ
    phase = 2 * np.pi * (120 * seconds + 15 * np.sin(3 * seconds))
    tones = sum(np.sin(k * phase) / k for k in range(1, 12))
    return (0.2 * tones * np.abs(np.sin(2 * seconds))).astype(np.float32)


def assert_equals_reference(samples: NDArray[np.float32], mel_bins: int) -> None:
    reference = EXTRACTORS[mel_bins](
        samples, sampling_rate=mel.SAMPLE_RATE_HZ, return_attention_mask=True, return_tensors="np"
    )
    ours = mel.log_mel(samples, mel_bins)
    assert ours.num_frames == reference["attention_mask"].sum() == mel.frame_count(samples.size)
    assert ours.features.shape == (mel_bins, min(mel.MAX_FRAMES, ours.num_frames + mel.HALO_FRAMES))
    assert ours.features.dtype == np.float32
    stored = reference["input_features"][0][:, : ours.features.shape[1]]
    np.testing.assert_allclose(ours.features, stored, rtol=0, atol=1e-4)


@pytest.mark.parametrize("mel_bins", EXTRACTORS)
@pytest.mark.parametrize("samples", EDGE_LENGTHS)
def test_features_equal_the_reference_at_edge_lengths(samples: int, mel_bins: int) -> None:
    assert_equals_reference(noise(samples), mel_bins)


@settings(max_examples=30, deadline=None)
@given(samples=st.integers(1, mel.MAX_SAMPLES), seed=st.integers(0, 99), mel_bins=st.sampled_from(sorted(EXTRACTORS)))
def test_features_equal_the_reference_at_any_length(samples: int, seed: int, mel_bins: int) -> None:
    assert_equals_reference(noise(samples, seed), mel_bins)


@pytest.mark.parametrize("mel_bins", EXTRACTORS)
def test_features_equal_the_reference_for_any_kind_of_sound(mel_bins: int) -> None:
    sound = voice_like(5 * mel.SAMPLE_RATE_HZ + 77)
    sounds = (sound, 1e-4 * sound, np.zeros_like(sound), np.ones_like(sound), np.sign(sound))
    for samples in sounds:
        assert_equals_reference(samples.astype(np.float32), mel_bins)


def test_token_counts_equal_the_reference_for_every_length() -> None:
    encoder = Qwen2AudioEncoder(Qwen2AudioEncoderConfig(encoder_layers=0, d_model=4, encoder_attention_heads=1))
    frames = torch.LongTensor(range(1, mel.MAX_FRAMES + 1))
    conv_frames, tokens = encoder._get_feat_extract_output_lengths(frames)
    assert [mel.conv_frame_count(n) for n in frames.tolist()] == conv_frames.tolist()
    assert [mel.audio_token_count(n) for n in frames.tolist()] == tokens.tolist()


def test_a_clip_of_twenty_milliseconds_holds_no_token() -> None:
    assert mel.audio_token_count(mel.frame_count(320)) == 0
    assert mel.audio_token_count(mel.frame_count(321)) == 1
    assert mel.audio_token_count(0) == 0


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.zeros(mel.MAX_SAMPLES + 1, np.float32),
        np.zeros((1, 1600), np.float32),
        np.array([0.0, np.nan], np.float32),
        np.array([np.inf, 0.0], np.float32),
    ],
    ids=["empty", "longer than 30 s", "two-dimensional", "NaN", "infinite"],
)
def test_clips_that_cannot_be_heard_whole_are_refused(samples: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="clip"):
        mel.log_mel(samples, 80)


def test_the_module_needs_numpy_alone() -> None:
    check = "import sys, services.qwen2_audio.mel; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], timeout=60).returncode == 0
