"""The few fields of a WAV header that must be judged before FFmpeg sees it."""

import struct
from dataclasses import dataclass

_FORMAT = struct.Struct("<HHIIHH")
# A size that says "unknown": writers who cannot seek back leave these.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF)


@dataclass(frozen=True)
class WavHeader:
    """What the header says; `data_start` and `data_bytes` are None where it does not say."""

    channels: int
    sample_rate_hz: int
    data_start: int | None
    data_bytes: int | None


def parse_wav_header(head: bytes) -> WavHeader | None:
    """The header of a RIFF or RF64 file that begins with `head`; None when no format chunk stands in it."""
    position, channels, sample_rate_hz = 12, None, 0
    while position + 8 <= len(head):
        name, size = head[position : position + 4], int.from_bytes(head[position + 4 : position + 8], "little")
        position += 8
        if name == b"fmt " and position + _FORMAT.size <= len(head):
            _, channels, sample_rate_hz, _, _, _ = _FORMAT.unpack_from(head, position)
        if name == b"data":
            known = None if size in _UNKNOWN_SIZES else size
            return WavHeader(channels, sample_rate_hz, position, known) if channels is not None else None
        position += size + size % 2
    return WavHeader(channels, sample_rate_hz, None, None) if channels is not None else None
