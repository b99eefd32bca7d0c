"""Headerless samples as blocks, as soon as they arrive."""

from collections.abc import Iterator

import numpy as np

from services.preprocess.domain import PcmFormat
from services.preprocess.sandbox.samples import to_mono
from services.preprocess.sandbox.source import Source
from services.preprocess.sandbox.track import Block, Track

_DTYPES: dict[str, np.dtype] = {"s16le": np.dtype("<i2"), "s32le": np.dtype("<i4"), "f32le": np.dtype("<f4")}
_READ_BYTES = 2**18


def open_pcm(source: Source, pcm: PcmFormat) -> Track:
    """The track that headerless samples are; its description comes from the order, not from the bytes."""
    track = Track("pcm", f"pcm_{pcm.sample_format}", pcm.sample_rate_hz, pcm.channels)
    track.blocks = _blocks(source, pcm, track)
    return track


def _blocks(source: Source, pcm: PcmFormat, track: Track) -> Iterator[Block]:
    dtype = _DTYPES[pcm.sample_format]
    frame_bytes = dtype.itemsize * pcm.channels
    rest, frames = b"", 0
    while data := source.read(_READ_BYTES):
        data = rest + data
        whole = len(data) - len(data) % frame_bytes
        rest = data[whole:]
        samples = np.frombuffer(data[:whole], dtype).reshape(-1, pcm.channels)
        frames += len(samples)
        if len(samples):
            yield Block(to_mono(samples, channels_first=False), pcm.sample_rate_hz)
    if rest:
        at_seconds = frames / pcm.sample_rate_hz
        track.note_damage(at_seconds, f"the last {len(rest)} bytes are less than one sample of all channels")
