"""Any sample rate to 16 kHz, block by block."""

import numpy as np
import soxr
from numpy.typing import NDArray

from services.qwen2_audio.mel import SAMPLE_RATE_HZ


class Resampler:
    """A stream of mono blocks at 16 kHz, whatever rate each block comes at (chained Ogg files may change it)."""

    def __init__(self) -> None:
        self._rate_hz = SAMPLE_RATE_HZ
        self._stream: soxr.ResampleStream | None = None

    def push(self, block: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        """16 kHz samples that are ready now; the filter keeps back a few milliseconds."""
        if rate_hz == self._rate_hz:
            return self._convert(block)
        ended = self.finish()
        self._rate_hz = rate_hz
        if rate_hz != SAMPLE_RATE_HZ:
            self._stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
        return np.concatenate([ended, self._convert(block)])

    def finish(self) -> NDArray[np.float32]:
        """What the filter still keeps."""
        if self._stream is None:
            return np.empty(0, np.float32)
        rest = self._stream.resample_chunk(np.empty(0, np.float32), last=True)
        self._stream = None
        return rest

    def _convert(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        return block if self._stream is None else self._stream.resample_chunk(block)
