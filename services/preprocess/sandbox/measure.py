"""What a window is told by, besides its spectrogram: a name for its content, and how loud it is."""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

# Stands for digital silence; 24-bit audio ends at -144 dBFS, 16-bit at -96.
SILENCE_DBFS = -120.0


def content_sha256(samples: NDArray[np.float32]) -> str:
    """Hex SHA-256 of the samples as little-endian 32-bit floats."""
    return hashlib.sha256(np.ascontiguousarray(samples, "<f4").tobytes()).hexdigest()


def rms_dbfs(samples: NDArray[np.float32]) -> float:
    """Root mean square in dB relative to full scale 1.0."""
    mean_square = float(np.mean(np.square(samples, dtype=np.float64)))
    return _dbfs(math.sqrt(mean_square))


def peak_dbfs(samples: NDArray[np.float32]) -> float:
    """Largest magnitude in dB relative to full scale 1.0; above 0 for audio that passes full scale."""
    return _dbfs(float(np.abs(samples).max()))


def _dbfs(amplitude: float) -> float:
    return max(SILENCE_DBFS, 20.0 * math.log10(amplitude)) if amplitude > 0.0 else SILENCE_DBFS
