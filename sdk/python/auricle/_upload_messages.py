"""The messages of an upload, and the file that they are cut from."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, BinaryIO

from auricle.v1 import assistant_pb2

CHUNK_BYTES = 512 * 2**10

# Called with the bytes sent so far and the bytes in all (None when the source does not tell).
Progress = Callable[[int, int | None], None]
Messages = Iterator[assistant_pb2.UploadAudioRequest]


class Source:
    """A file to be uploaded, from where it stands.

    Attributes:
        total_bytes: from there to its end; None when it cannot be measured, and then it cannot be read again either.
    """

    def __init__(self, stream: BinaryIO, on_progress: Progress | None = None) -> None:
        self._stream = stream
        self._on_progress = on_progress
        self._start, self.total_bytes = _measured(stream)
        self._lock = threading.Lock()
        self._reading = 0

    def messages(self, config: assistant_pb2.UploadAudioConfig) -> Messages:
        """The configuration, then the chunks from its `offset_bytes` on as they are read.

        Messages that were asked for before end with that: gRPC's thread may still be at them.

        Raises:
            ValueError: the stream is empty.
            TypeError: it is a text stream, or has nothing to read yet.
        """
        with self._lock:
            self._reading += 1
            if self.total_bytes is not None:
                self._stream.seek(self._start + config.offset_bytes)
            return self._messages(assistant_pb2.UploadAudioRequest(config=config), self._reading)

    def _messages(self, first: assistant_pb2.UploadAudioRequest, reading: int) -> Messages:
        sent_bytes = first.config.offset_bytes
        chunk = self._read(reading)
        if not chunk and not sent_bytes:
            raise ValueError("there is nothing to upload: the audio is empty")
        yield first
        while chunk:
            yield assistant_pb2.UploadAudioRequest(chunk=chunk)
            sent_bytes += len(chunk)
            if self._on_progress:
                self._on_progress(sent_bytes, self.total_bytes)
            chunk = self._read(reading)

    def _read(self, reading: int) -> bytes:
        with self._lock:
            if reading != self._reading:
                raise InterruptedError("the upload goes on with other messages")
            chunk = self._stream.read(CHUNK_BYTES)
        if not isinstance(chunk, bytes):
            raise TypeError(f'the file must give bytes (mode "rb"), but gave {type(chunk).__name__}')
        return chunk


def _measured(stream: BinaryIO) -> tuple[int, int | None]:
    try:
        start = stream.tell()
        end = stream.seek(0, os.SEEK_END)
        stream.seek(start)
    except (OSError, AttributeError):
        return 0, None
    return start, end - start


class GuardedMessages:
    """Messages that keep an error of their source for the caller.

    gRPC would only log it. And the stream must not simply end there, because the server would take what came so far for
    the whole; so the call is cancelled.
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._call: Future[Any] = Future()
        self.error: Exception | None = None

    def attach(self, call: Any) -> None:
        """Name the call that sends the messages; it may be asking for them already."""
        self._call.set_result(call)

    def __iter__(self) -> "GuardedMessages":
        return self

    def __next__(self) -> assistant_pb2.UploadAudioRequest:
        try:
            return next(self._messages)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            self._call.result().cancel()
            raise StopIteration from None
