"""Samples of any encoding as mono float32 with full scale at 1.0."""

import numpy as np
from numpy.typing import NDArray

from services.preprocess.domain import Reason
from services.preprocess.sandbox.refused import AudioRefused

# Float audio may pass full scale, and 16-bit integers written as floats are still taken. Beyond that it is no sound.
MAX_MAGNITUDE = 2.0**16

_INTEGER_SCALES = {np.dtype(np.int16): 2.0**-15, np.dtype(np.int32): 2.0**-31, np.dtype(np.int64): 2.0**-63}


def to_mono(samples: NDArray, *, channels_first: bool) -> NDArray[np.float32]:
    """The average of all channels, scaled to full scale 1.0.

    Args:
        samples: (channels, n) when `channels_first`, else (n, channels); unsigned 8-bit, signed or float of any width.
        channels_first: which axis holds the channels.
    """
    if samples.dtype == np.uint8:
        samples, scale = samples.astype(np.float32) - 128.0, 2.0**-7
    else:
        scale = _INTEGER_SCALES.get(samples.dtype, 1.0)
    planar = samples if channels_first else samples.T
    weight = np.float32(scale / len(planar))
    # Channel by channel: NumPy's mean over a short axis is several times slower.
    mono = planar[0].astype(np.float32)
    for channel in planar[1:]:
        mono += channel
    return mono * weight


def check_samples(mono: NDArray[np.float32], at_seconds: float) -> None:
    """Refuse what is not sound: NaN, infinity, or magnitudes beyond MAX_MAGNITUDE.

    Raises:
        AudioRefused: AUDIO_SAMPLES_INVALID, with the place.
    """
    if mono.size and not float(np.abs(mono).max()) <= MAX_MAGNITUDE:
        message = f"the samples near {at_seconds:.2f} s are not finite or exceed {MAX_MAGNITUDE:.0f} times full scale"
        raise AudioRefused(Reason.AUDIO_SAMPLES_INVALID, message, at_seconds=f"{at_seconds:.2f}")
