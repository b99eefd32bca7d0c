"""Which container a recording comes in, by its first bytes alone.

Names and MIME types are not asked: they lie. Only the demuxer found here is ever run, so none of the hundreds of others
that FFmpeg knows sees a hostile byte.
"""

from dataclasses import dataclass

from services.preprocess.domain import Reason
from services.preprocess.sandbox.refused import AudioRefused
from services.preprocess.sandbox.source import Source

SNIFF_BYTES = 4096
# A tag before the first frame, with a picture perhaps. Behind a longer one MP3 is taken for granted.
MAX_TAG_BYTES = 2**22
_ID3V2_HEADER_BYTES = 10


@dataclass(frozen=True)
class Container:
    """A container format: its name for people, FFmpeg's demuxer, and whether it can be read while it arrives."""

    name: str
    demuxer: str
    streams: bool = True


WAV = Container("wav", "wav")
FLAC = Container("flac", "flac")
OGG = Container("ogg", "ogg")
MP3 = Container("mp3", "mp3")
AAC = Container("aac", "aac")
AMR = Container("amr", "amr")
WEBM = Container("webm", "matroska")
MP4 = Container("mp4", "mov")
MP4_INDEX_LAST = Container("mp4", "mov", streams=False)

SUPPORTED = "WAV, FLAC, MP3, OGG (Vorbis, Opus), M4A/AAC, WebM and AMR"

_MP4_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}
# Only for a better sentence: what people send by mistake.
_FOREIGN = {
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
}


def sniff(source: Source) -> Container:
    """The container of a recording; none of its bytes is taken.

    Raises:
        AudioRefused: AUDIO_EMPTY, or AUDIO_FORMAT_UNSUPPORTED for anything that is not a supported container.
    """
    head = source.peek(SNIFF_BYTES)
    if not head:
        raise AudioRefused(Reason.AUDIO_EMPTY, "the recording has no bytes")
    tag_bytes = id3v2_bytes(head)
    if tag_bytes:
        tagged = source.peek(tag_bytes + SNIFF_BYTES)[tag_bytes:] if tag_bytes <= MAX_TAG_BYTES else b""
        return _by_magic(tagged) or MP3
    found = _by_magic(head)
    if found is None:
        message = f"the bytes begin like {_foreign(head)}, not like audio in {SUPPORTED}"
        raise AudioRefused(Reason.AUDIO_FORMAT_UNSUPPORTED, message)
    return found


def id3v2_bytes(head: bytes) -> int:
    """Length of the tag before the first frame, 0 without one; its size has 7 bits a byte (ID3v2.4, section 3.1)."""
    if head[:3] != b"ID3" or len(head) < _ID3V2_HEADER_BYTES:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return _ID3V2_HEADER_BYTES + size


def _by_magic(head: bytes) -> Container | None:
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return WAV
    if head[:4] == b"fLaC":
        return FLAC
    if head[:4] == b"OggS":
        return OGG
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return WEBM
    if head[:5] == b"#!AMR":
        return AMR
    if head[4:8] in _MP4_FIRST_BOXES:
        return _mp4(head)
    return _by_sync_word(head)


def _mp4(head: bytes) -> Container:
    """MP4 can be read as it arrives when its index (moov) stands before the samples (mdat)."""
    position = 0
    while position + 8 <= len(head):
        size, box = int.from_bytes(head[position : position + 4], "big"), head[position + 4 : position + 8]
        if box == b"moov":
            return MP4
        # Size 1 announces a 64-bit size, size 0 the rest of the file: neither is skipped.
        if box == b"mdat" or size < 8:
            break
        position += size
    return MP4_INDEX_LAST


def _by_sync_word(head: bytes) -> Container | None:
    """MPEG audio frames have no magic number, only 11 or 12 set bits and fields that must make sense."""
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return AAC
    layer_3 = head[1] & 0xE6 == 0xE2
    version_known = head[1] & 0x18 != 0x08
    bitrate_and_rate_known = head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C
    return MP3 if layer_3 and version_known and bitrate_and_rate_known else None


def _foreign(head: bytes) -> str:
    for magic, description in _FOREIGN.items():
        if head.startswith(magic):
            return description
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    return "text" if printable > 0.95 * len(head) else "no format known here"
