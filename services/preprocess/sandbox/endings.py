"""Does a recording end where it says it ends? What FFmpeg passes over in silence is looked at here.

Each check sees the first and the last bytes of the file and its length. None can prove a file whole, but a file cut by
a broken upload is found: by the header's own count (WAV, MP3), by the end mark (Ogg) or by a last frame that is cut.
"""

from collections.abc import Callable

from services.preprocess.sandbox import sniff
from services.preprocess.sandbox.sniff import Container, id3v2_bytes
from services.preprocess.sandbox.source import KEPT_BYTES, Source
from services.preprocess.sandbox.wav_header import parse_wav_header

_OGG_HEADER_BYTES = 27
_OGG_END_OF_STREAM = 0x04
_XING_HAS_FRAMES = 0x1
_XING_HAS_BYTES = 0x2
_KBPS_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_HZ_V1 = (44_100, 48_000, 32_000)


def missing_end(container: Container, source: Source) -> str | None:
    """Read the bytes that are left; a sentence on what is missing behind the last, or None when the end looks whole."""
    while source.read(KEPT_BYTES):
        pass
    check = _CHECKS.get(container)
    return check(source) if check else None


def _wav(source: Source) -> str | None:
    header = parse_wav_header(source.head)
    if header is None or header.data_start is None or header.data_bytes is None:
        return None
    came = source.total_bytes - header.data_start
    if came >= header.data_bytes:
        return None
    return f"the header promises {header.data_bytes} bytes of samples, {came} came"


def _ogg(source: Source) -> str | None:
    start = source.tail.rfind(b"OggS")
    page = source.tail[start:] if start >= 0 else b""
    if len(page) < _OGG_HEADER_BYTES or len(page) < _OGG_HEADER_BYTES + page[26]:
        return "the last page is cut"
    lengths = page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + page[26]]
    if len(page) < _OGG_HEADER_BYTES + len(lengths) + sum(lengths):
        return "the last page is cut"
    return None if page[5] & _OGG_END_OF_STREAM else "the stream has no end mark"


def _mp3(source: Source) -> str | None:
    promised = _xing_bytes(source.head)
    audio_bytes = source.total_bytes - id3v2_bytes(source.head)
    if promised is not None and audio_bytes < promised:
        return f"the header promises {promised} bytes of frames, {audio_bytes} came"
    return "the last frame is cut" if _cut_frame(source.tail) else None


def _xing_bytes(head: bytes) -> int | None:
    """Bytes of all frames as the encoder's first, silent frame counts them."""
    frame = head[id3v2_bytes(head) :][:200]
    tag = max(frame.find(b"Xing"), frame.find(b"Info"))
    if tag < 0:
        return None
    flags = int.from_bytes(frame[tag + 4 : tag + 8], "big")
    if not flags & _XING_HAS_BYTES:
        return None
    position = tag + (12 if flags & _XING_HAS_FRAMES else 8)
    return int.from_bytes(frame[position : position + 4], "big") or None


def _frame_bytes(header: bytes) -> int:
    """Length of the Layer III frame with this 4-byte header, 0 when it is none (ISO 11172-3, 2.4.2.3)."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, bitrate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return 0
    is_v1 = version == 3
    kbps = (_KBPS_V1 if is_v1 else _KBPS_V2)[bitrate]
    hz = _HZ_V1[rate] >> (0 if is_v1 else 1 if version == 2 else 2)
    return (144 if is_v1 else 72) * kbps * 1000 // hz + (header[2] >> 1 & 1)


def _cut_frame(tail: bytes) -> bool:
    """Whether a chain of frames runs to the end of the file and past it."""
    for start in range(min(len(tail), 2 * 1441)):
        position, frames = start, 0
        while length := _frame_bytes(tail[position : position + 4]):
            position, frames = position + length, frames + 1
        if frames >= 3:
            return position > len(tail)
    return False


_CHECKS: dict[Container, Callable[[Source], str | None]] = {sniff.WAV: _wav, sniff.OGG: _ogg, sniff.MP3: _mp3}
