"""What is asked: turns of text and audio."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from auricle.v1 import audio_pb2, generation_pb2

# The contract's limit for one chunk of a recording.
MAX_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class AudioInput:
    """A recording to be heard.

    Attributes:
        field: its place in the request, such as "messages[0].content[1].audio"; errors about it name the place.
        chunks: opens the recording as a stream of chunks of 1 byte to MAX_CHUNK_BYTES; may raise AuricleError.
        raw_pcm: describes headerless samples; None for a file that names its own format.
    """

    field: str
    chunks: Callable[[], AsyncIterator[bytes]]
    raw_pcm: audio_pb2.RawPcm | None = None


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation: who speaks, and text and audio in the order meant."""

    role: "generation_pb2.Role"
    parts: Sequence[str | AudioInput]


async def chunked(data: bytes, chunk_bytes: int) -> AsyncIterator[bytes]:
    """Bytes already in memory, chunk by chunk."""
    for start in range(0, len(data), chunk_bytes):
        yield data[start : start + chunk_bytes]
