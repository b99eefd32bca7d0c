"""Log-mel features of the audio tower, in numpy alone.

Equal to ``transformers.WhisperFeatureExtractor`` on the clip padded to 30 s, but computed for the clip's own frames
only: cost follows the seconds given. Frame ``i`` is centered on sample ``160 * i`` and covers 400 samples (25 ms), so
the first frames after the clip's end still hear it. The reference's convolutions see those frames; ``HALO_FRAMES`` of
them are therefore stored behind the clip's own.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
HOP_SAMPLES = 160  # 10 ms
FFT_SAMPLES = 400  # 25 ms
MAX_WINDOW_SECONDS = 30
MAX_SAMPLES = MAX_WINDOW_SECONDS * SAMPLE_RATE_HZ
MAX_FRAMES = MAX_SAMPLES // HOP_SAMPLES
HALO_FRAMES = 2  # the last conv output of a clip of L frames reads mel frames up to L + 1

_LOWEST_POWER = 1e-10
_RANGE_LOG10 = 8.0  # 80 dB below the loudest bin
_BLOCK_FRAMES = 256  # keeps one block's spectrum inside the CPU cache

# Slaney's mel scale (Auditory Toolbox, 1998): linear to 1 kHz, logarithmic above.
_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_LOG_START_HZ = 1000.0
_LOG_START_MEL = _LOG_START_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


@dataclass(frozen=True)
class LogMel:
    """Features of one clip.

    ``features`` is float32 ``(mel_bins, stored_frames)`` with ``stored_frames`` the smaller of ``MAX_FRAMES`` and
    ``num_frames + HALO_FRAMES``; ``num_frames`` counts the clip's own, those the reference's attention mask keeps.
    """

    features: NDArray[np.float32]
    num_frames: int


def frame_count(num_samples: int) -> int:
    """Mel frames of a clip of at most 30 s: the sum of ``WhisperFeatureExtractor``'s attention mask."""
    return -(-num_samples // HOP_SAMPLES)


def stored_frame_count(num_frames: int) -> int:
    """Frames kept for a clip of ``num_frames``: its own and the halo."""
    return min(MAX_FRAMES, num_frames + HALO_FRAMES)


def conv_frame_count(num_frames: int) -> int:
    """Frames after the convolutions (stride 2): what attention runs over, 20 ms each."""
    return (num_frames - 1) // 2 + 1


def audio_token_count(num_frames: int) -> int:
    """Audio tokens (40 ms each) of ``num_frames`` mel frames; zero below 3 frames (20 ms).

    ``Qwen2AudioEncoder._get_feat_extract_output_lengths``.
    """
    return max(0, (conv_frame_count(num_frames) - 2) // 2 + 1)


def log_mel(samples: NDArray[np.float32], mel_bins: int) -> LogMel:
    """Log-mel features of one mono clip at 16 kHz.

    Args:
        samples: ``(n,)``, finite, nominally in [-1, 1], ``1 <= n <= MAX_SAMPLES``.
        mel_bins: 80 for auricle-mini, 128 for Qwen2-Audio-7B.

    Raises:
        ValueError: wrong shape, empty, longer than 30 s, or not finite.
    """
    clip = _checked(samples)
    num_frames = frame_count(clip.size)
    frames = _frames(clip, stored_frame_count(num_frames))
    filters = _mel_filters(mel_bins)
    power = np.empty((mel_bins, len(frames)), np.float32)
    for start in range(0, len(frames), _BLOCK_FRAMES):
        block = frames[start : start + _BLOCK_FRAMES]
        power[:, start : start + len(block)] = filters @ _power_spectrum(block).T
    logs = np.log10(np.maximum(power, _LOWEST_POWER))
    # Frames behind the halo are pure padding, the quietest value there is: the loudest bin is always in `logs`.
    logs = np.maximum(logs, logs.max() - np.float32(_RANGE_LOG10))
    return LogMel((logs + np.float32(4.0)) / np.float32(4.0), num_frames)


def _checked(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    clip = np.asarray(samples, np.float32)
    if clip.ndim != 1 or not 1 <= clip.size <= MAX_SAMPLES:
        raise ValueError(f"a clip is one row of 1 to {MAX_SAMPLES} samples, got shape {clip.shape}")
    if not np.isfinite(clip).all():
        raise ValueError("the clip holds samples that are NaN or infinite")
    return clip


def _frames(clip: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """View ``(count, FFT_SAMPLES)`` of overlapping frames of the zero-padded, mirrored clip."""
    # The mirror at the end is heard only by clips that reach 30 s; two windows of zeros stand in for the full padding.
    padded_samples = min(MAX_SAMPLES, clip.size + 2 * FFT_SAMPLES)
    padded = np.pad(clip, (0, padded_samples - clip.size))
    mirrored = np.pad(padded, FFT_SAMPLES // 2, mode="reflect")
    return sliding_window_view(mirrored, FFT_SAMPLES)[::HOP_SAMPLES][:count]


def _power_spectrum(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    spectrum = np.fft.rfft(frames * _window())
    return (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)


@functools.cache
def _window() -> NDArray[np.float32]:
    phase = 2.0 * np.pi * np.arange(FFT_SAMPLES) / FFT_SAMPLES
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


@functools.cache
def _mel_filters(mel_bins: int) -> NDArray[np.float32]:
    """Triangles ``(mel_bins, FFT_SAMPLES // 2 + 1)`` from 0 to 8 kHz, each of area 1 (Slaney's norm)."""
    top_mel = _LOG_START_MEL + np.log(SAMPLE_RATE_HZ / 2 / _LOG_START_HZ) / _LOG_STEP
    edges_hz = _mel_to_hz(np.linspace(0.0, top_mel, mel_bins + 2))
    left, center, right = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    bins_hz = np.linspace(0.0, SAMPLE_RATE_HZ / 2, FFT_SAMPLES // 2 + 1)
    rising = (bins_hz - left) / (center - left)
    falling = (right - bins_hz) / (right - center)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * 2.0 / (right - left)).astype(np.float32)


def _mel_to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithmic = _LOG_START_HZ * np.exp(_LOG_STEP * (mels - _LOG_START_MEL))
    return np.where(mels < _LOG_START_MEL, mels * _LINEAR_HZ_PER_MEL, logarithmic)
