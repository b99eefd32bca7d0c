"""The recording's bytes as a file to read from, while they still arrive."""

from collections.abc import Iterator
from io import BufferedIOBase

from services.preprocess import wire
from services.preprocess.wire import Kind

# Long enough for every header that is looked at, and for the longest Ogg page (65,307 bytes).
KEPT_BYTES = 2**16


def receive(stream: BufferedIOBase) -> tuple[Kind, bytes]:
    """The next message of a blocking stream.

    Raises:
        EOFError: the other end has gone.
    """
    head = stream.read(wire.HEADER.size)
    if len(head) < wire.HEADER.size:
        raise EOFError
    kind, length = wire.parse_header(head)
    payload = stream.read(length)
    if len(payload) < length:
        raise EOFError
    return kind, payload


def chunks_of(stream: BufferedIOBase) -> Iterator[bytes]:
    """The payloads of CHUNK messages until END."""
    while True:
        kind, payload = receive(stream)
        if kind is Kind.END:
            return
        yield payload


class Source:
    """Reads chunks as one unseekable file, and keeps the first and the last of its bytes.

    Attributes:
        head: the first KEPT_BYTES that have arrived.
        tail: the last KEPT_BYTES that have arrived.
        total_bytes: how many have arrived.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._unread = memoryview(b"")
        self.head = b""
        self.tail = b""
        self.total_bytes = 0

    def read(self, size: int) -> bytes:
        """Between 1 and `size` bytes; none at the end. Waits for the next chunk only when none is left."""
        if not self._unread:
            self._unread = memoryview(self._arrive())
        data = bytes(self._unread[:size])
        self._unread = self._unread[size:]
        return data

    def peek(self, size: int) -> bytes:
        """The next `size` bytes without taking them; fewer only when the recording ends before."""
        while len(self._unread) < size:
            chunk = self._arrive()
            if not chunk:
                break
            self._unread = memoryview(bytes(self._unread) + chunk)
        return bytes(self._unread[:size])

    def _arrive(self) -> bytes:
        chunk = next(self._chunks, b"")
        self.total_bytes += len(chunk)
        if len(self.head) < KEPT_BYTES:
            self.head += chunk[: KEPT_BYTES - len(self.head)]
        self.tail = chunk[-KEPT_BYTES:] if len(chunk) >= KEPT_BYTES else (self.tail + chunk)[-KEPT_BYTES:]
        return chunk
