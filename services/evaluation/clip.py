"""Clips of manifests: 16 kHz mono files, read as they are."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from services.qwen2_audio.mel import SAMPLE_RATE_HZ


def read_clip(path: Path) -> NDArray[np.float32]:
    """Samples of a 16 kHz mono file.

    Raises:
        ValueError: another rate, or several channels.
    """
    samples, rate_hz = soundfile.read(path, dtype="float32")
    if rate_hz != SAMPLE_RATE_HZ or samples.ndim != 1:
        raise ValueError(f"{path} is not 16 kHz mono")
    return np.asarray(samples, np.float32)
