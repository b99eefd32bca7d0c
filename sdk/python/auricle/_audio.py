"""Audio as users have it (a path, bytes, an array, an upload) turned into what the contract carries."""

import io
import operator
import os
import re
from typing import Any, BinaryIO

import numpy as np

from auricle._types import Audio
from auricle.v1 import assistant_pb2, audio_pb2

DEFAULT_SAMPLE_RATE_HZ = 16_000
MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ = 1_000, 384_000
MAX_INLINE_BYTES = 32 * 2**20
# Resampling and lossy decoding overshoot full scale a little; integers kept as floats are far beyond it.
MAX_FLOAT_PEAK = 2.0
_URL = re.compile(r"[a-z][a-z0-9+.-]*://|data:", re.IGNORECASE)


def audio_source(value: Any, sample_rate_hz: Any = None) -> assistant_pb2.AudioSource:
    """The audio part of a message.

    Args:
        value: path, bytes, one-dimensional array (float in [-1, 1] or int16), or an uploaded Audio.
        sample_rate_hz: of an array, 16,000 when None; no other kind of audio takes one.

    Raises:
        ValueError: empty or more than 32 MiB, a URL, or an array of the wrong shape, dtype or range.
        TypeError: none of the kinds above.
        OSError: the file cannot be read.
    """
    if isinstance(value, Audio):
        _refuse_sample_rate(sample_rate_hz)
        return assistant_pb2.AudioSource(name=value.name)
    if is_array(value):
        data, raw_pcm = encode_array(value, sample_rate_hz)
        return assistant_pb2.AudioSource(data=_within_limit(data), raw_pcm=raw_pcm)
    _refuse_sample_rate(sample_rate_hz)
    with _open(value) as stream:
        data = stream.read(MAX_INLINE_BYTES + 1)
    if not data:
        raise ValueError(f"{_named(value)} is empty")
    return assistant_pb2.AudioSource(data=_within_limit(data))


def upload_source(value: Any, sample_rate_hz: Any = None) -> tuple[BinaryIO, audio_pb2.RawPcm | None]:
    """The bytes to upload as a stream, with their description when they are headerless samples.

    A path is opened; an open binary file is used from where it stands, and stays the caller's to close. Raises what
    audio_source raises, but has no limit of size.
    """
    if is_array(value):
        data, raw_pcm = encode_array(value, sample_rate_hz)
        return io.BytesIO(data), raw_pcm
    _refuse_sample_rate(sample_rate_hz)
    return (value, None) if hasattr(value, "read") else (_open(value), None)


def is_array(value: Any) -> bool:
    """True for numpy arrays and what converts to them, such as torch tensors on the CPU."""
    return hasattr(value, "__array__")


def encode_array(value: Any, sample_rate_hz: Any = None) -> tuple[bytes, audio_pb2.RawPcm]:
    """Samples as little-endian bytes (int16, or float32 for any float) with their description."""
    array = np.asarray(value)
    if array.ndim != 1:
        raise ValueError(f"an audio array must have one dimension (mono samples), but its shape is {array.shape}")
    if not array.size:
        raise ValueError("the audio array is empty")
    if np.issubdtype(array.dtype, np.int16):
        data, sample_format = array.astype("<i2").tobytes(), audio_pb2.SAMPLE_FORMAT_S16LE
    elif np.issubdtype(array.dtype, np.floating):
        data, sample_format = _checked_floats(array).tobytes(), audio_pb2.SAMPLE_FORMAT_F32LE
    else:
        raise ValueError(f"an audio array must be int16 or float in [-1, 1], but its dtype is {array.dtype}")
    rate = _checked_sample_rate(sample_rate_hz)
    return data, audio_pb2.RawPcm(sample_rate_hz=rate, channels=1, sample_format=sample_format)


def _checked_floats(array: np.ndarray) -> np.ndarray:
    peak = float(np.abs(array).max())
    if not np.isfinite(peak):
        raise ValueError("the audio array has samples that are NaN or infinite")
    if peak > MAX_FLOAT_PEAK:
        raise ValueError(f"float samples must be in [-1, 1], but the largest is {peak:g}; scale them first")
    return array.astype("<f4")


def _checked_sample_rate(value: Any) -> int:
    if value is None:
        return DEFAULT_SAMPLE_RATE_HZ
    try:
        rate = operator.index(value)
    except TypeError:
        raise TypeError(f"the sample rate must be a whole number of Hz, not {value!r}") from None
    if not MIN_SAMPLE_RATE_HZ <= rate <= MAX_SAMPLE_RATE_HZ:
        raise ValueError(f"the sample rate must be {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ} Hz, not {rate}")
    return rate


def _refuse_sample_rate(value: Any) -> None:
    if value is not None:
        raise ValueError("a sample rate belongs to an array only; files and uploads tell their own")


def _open(value: Any) -> BinaryIO:
    if isinstance(value, bytes | bytearray | memoryview):
        return io.BytesIO(value)
    if not isinstance(value, str | os.PathLike):
        kinds = "a path, bytes, an array or an uploaded Audio"
        raise TypeError(f"audio must be {kinds}, not {type(value).__name__}")
    if isinstance(value, str) and _URL.match(value):
        shown = value if len(value) <= 80 else f"{value[:77]}..."
        raise ValueError(f"audio is not fetched from URLs; download the file and give its path instead of {shown!r}")
    return open(value, "rb")


def _named(value: Any) -> str:
    return f"audio file {os.fspath(value)!r}" if isinstance(value, str | os.PathLike) else "the audio"


def _within_limit(data: bytes) -> bytes:
    if len(data) > MAX_INLINE_BYTES:
        raise ValueError(f"audio in a message may have at most {MAX_INLINE_BYTES // 2**20} MiB; upload() it first")
    return data
