"""From an audio file to log-mel features, heard a little differently every time."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from services.evaluation.clip import read_clip
from services.qwen2_audio.mel import MAX_SAMPLES, SAMPLE_RATE_HZ, LogMel, log_mel

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """How far a clip may be altered; all zero leaves it alone.

    Attributes:
        quieter_db: gain is drawn between this much below the original and the original.
        noise_share: share of clips that get noise, white to brown, at ``snr_db``.
        reverb_share: share of clips that are heard in a room.
        silence_seconds: at most this much silence before the clip, and again behind it.
        tape_speed: the clip is played up to this share faster or slower, which moves pitch, formants and tempo at once:
            another voice, another key. Clips that this would lengthen past the window keep their speed.
    """

    quieter_db: float = 0.0
    noise_share: float = 0.0
    snr_db: tuple[float, float] = (12.0, 40.0)
    reverb_share: float = 0.0
    silence_seconds: float = 0.0
    tape_speed: float = 0.0


@dataclass(frozen=True)
class Heard:
    """Features of a clip, and where its words went: what was at second t is at ``t / speed + delay_seconds``."""

    mel: LogMel
    delay_seconds: float
    speed: float = 1.0


def hear(path: Path, mel_bins: int, augmentation: Augmentation, chance: random.Random) -> Heard:
    """Read a 16 kHz mono file and augment it.

    Raises:
        ValueError: another rate, or features cannot be computed (see ``log_mel``).
    """
    samples, speed = _played(read_clip(path), augmentation.tape_speed, chance)
    samples, delay_seconds = _augmented(samples, augmentation, chance)
    return Heard(log_mel(samples[:MAX_SAMPLES], mel_bins), delay_seconds, speed)


def _played(samples: Samples, most: float, chance: random.Random) -> tuple[Samples, float]:
    """The clip at another tape speed, and that speed."""
    speed = 1 + chance.uniform(-most, most)
    if most == 0 or samples.size / speed > MAX_SAMPLES:
        return samples, 1.0
    return soxr.resample(samples, SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ, quality="QQ"), speed


def _augmented(samples: Samples, how: Augmentation, chance: random.Random) -> tuple[Samples, float]:
    noise = np.random.default_rng(chance.getrandbits(32))
    before, behind = (int(chance.uniform(0, how.silence_seconds) * SAMPLE_RATE_HZ) for _ in range(2))
    if samples.size + before + behind > MAX_SAMPLES:
        before = behind = 0
    samples = np.pad(samples, (before, behind))
    if chance.random() < how.reverb_share:
        samples = _in_a_room(samples, chance.uniform(0.1, 0.4), noise)
    if chance.random() < how.noise_share:
        samples = samples + _noise_like(samples, chance.uniform(*how.snr_db), chance.uniform(0.0, 1.0), noise)
    gain = 10 ** (-chance.uniform(0.0, how.quieter_db) / 20)
    return (samples * gain).astype(np.float32), before / SAMPLE_RATE_HZ


def _noise_like(samples: Samples, snr_db: float, slope: float, noise: np.random.Generator) -> Samples:
    """Noise whose power falls with frequency to the given slope (0 white, 1 pink), at an SNR below the clip."""
    spectrum = np.fft.rfft(noise.standard_normal(samples.size))
    spectrum[1:] /= np.arange(1, spectrum.size) ** (slope / 2)
    made = np.fft.irfft(spectrum, samples.size)
    power_ratio = float(np.mean(samples**2)) / max(float(np.mean(made**2)), 1e-12)
    level = power_ratio**0.5 * 10 ** (-snr_db / 20)
    return (made * level).astype(np.float32)


def _in_a_room(samples: Samples, decay_seconds: float, noise: np.random.Generator) -> Samples:
    """Direct sound and an exponentially dying tail; the length stays."""
    t = np.arange(int(decay_seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tail = noise.standard_normal(t.size) * np.exp(-6.9 * t / decay_seconds)
    tail *= 0.4 / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    size = samples.size + t.size
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)
    return wet[: samples.size].astype(np.float32)
