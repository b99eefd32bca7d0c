"""Files that must be complete before they can be read."""

from typing import BinaryIO

from services.preprocess.domain import Reason
from services.preprocess.sandbox.refused import AudioRefused
from services.preprocess.sandbox.source import Source

_READ_BYTES = 2**18


def spool(source: Source, file: BinaryIO, limit_bytes: int) -> BinaryIO:
    """Write the whole recording to `file` and rewind it.

    Raises:
        AudioRefused: AUDIO_TOO_LARGE.
    """
    while data := source.read(_READ_BYTES):
        if source.total_bytes > limit_bytes:
            message = (
                f"an MP4 file whose index stands at its end may have {limit_bytes} bytes; "
                "write it with the index first (faststart) or send another format"
            )
            raise AudioRefused(Reason.AUDIO_TOO_LARGE, message, limit_bytes=limit_bytes)
        file.write(data)
    file.seek(0)
    return file
