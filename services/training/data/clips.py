"""Clips on disk and the entries that name them: 16 kHz mono WAV files under one folder."""

from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from services.qwen2_audio.mel import SAMPLE_RATE_HZ

Samples = NDArray[np.float32]


def to_model_rate(samples: Samples, rate_hz: float) -> Samples:
    """Mono at 16 kHz. A rate other than the true one changes pitch and tempo together, as a tape does."""
    mono = samples.mean(1) if samples.ndim == 2 else samples
    if rate_hz == SAMPLE_RATE_HZ:
        return mono.astype(np.float32)
    return soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ).astype(np.float32)


def at_peak(samples: Samples, peak: float) -> Samples:
    """Scaled to a peak; silence stays silence."""
    loudest = float(np.abs(samples).max(initial=0.0))
    return samples if loudest == 0 else (samples * (peak / loudest)).astype(np.float32)


def write_clip(samples: Samples, root: Path, name: str) -> str:
    """Write ``root/name`` (a .wav) and return the name."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, SAMPLE_RATE_HZ, subtype="PCM_16")
    return name


def heard_as(name: str, clip: Samples) -> list[tuple[str, float, float]]:
    """What a clip is as a word lasting as long as it is heard, for alignment, said again every 0.6 s."""
    seconds = len(clip) / SAMPLE_RATE_HZ
    starts = np.arange(0.0, max(0.1, seconds - 0.3), 0.6)
    return [(name, round(float(s), 3), round(min(float(s) + 0.6, seconds), 3)) for s in starts]
