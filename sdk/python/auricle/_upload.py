"""Uploads: a source cut into the messages of a client stream, one chunk in memory at a time."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from typing import Any, BinaryIO

import grpc

from auricle import _types
from auricle._audio import upload_source
from auricle._connection import Call, Connection
from auricle._errors import CancelledError
from auricle._types import Audio
from auricle.v1 import assistant_pb2
from auricle.v1.assistant_pb2_grpc import AssistantServiceStub

CHUNK_BYTES = 512 * 2**10
# What gRPC keeps of an upload: enough to repeat one that was turned away, but no more, so that memory stays flat.
KEPT_BYTES = 4 * 2**20

# Called with the bytes sent so far and the bytes in all (None when the source does not tell).
Progress = Callable[[int, int | None], None]
Messages = Iterator[assistant_pb2.UploadAudioRequest]


@contextmanager
def start_upload(
    connection: Connection,
    audio: Any,
    sample_rate_hz: int | None,
    on_progress: Progress | None,
    timeout_seconds: float | None,
) -> Iterator["PendingUpload"]:
    """Begin to send. The end of the block cancels what has not ended by then.

    A file that was opened here is closed at the end; a file object stays the caller's.
    """
    call = connection.call(timeout_seconds)
    stream, raw_pcm = upload_source(audio, sample_rate_hz)
    messages = upload_messages(stream, assistant_pb2.UploadAudioConfig(raw_pcm=raw_pcm), on_progress)
    with nullcontext() if stream is audio else stream, connection.sync_channel(KEPT_BYTES) as channel:
        yield PendingUpload(channel, messages, call)


def upload_messages(
    stream: BinaryIO, config: assistant_pb2.UploadAudioConfig, on_progress: Progress | None
) -> Iterator[assistant_pb2.UploadAudioRequest]:
    """The messages of an upload: its configuration, then the chunks of `stream` as they are read.

    Raises:
        ValueError: the stream is empty.
        TypeError: it is a text stream, or has nothing to read yet.
    """
    total_bytes = _remaining_bytes(stream)
    chunk = _read(stream)
    if not chunk:
        raise ValueError("there is nothing to upload: the audio is empty")
    yield assistant_pb2.UploadAudioRequest(config=config)
    sent_bytes = 0
    while chunk:
        yield assistant_pb2.UploadAudioRequest(chunk=chunk)
        sent_bytes += len(chunk)
        if on_progress:
            on_progress(sent_bytes, total_bytes)
        chunk = _read(stream)


def _read(stream: BinaryIO) -> bytes:
    chunk = stream.read(CHUNK_BYTES)
    if not isinstance(chunk, bytes):
        raise TypeError(f'the file must give bytes (mode "rb"), but gave {type(chunk).__name__}')
    return chunk


def _remaining_bytes(stream: BinaryIO) -> int | None:
    try:
        here = stream.tell()
        end = stream.seek(0, os.SEEK_END)
        stream.seek(here)
    except (OSError, AttributeError):
        return None
    return end - here


class PendingUpload:
    """An upload that gRPC's own threads read and send.

    Both clients use it: grpc.aio reports a call that the server ends early as INTERNAL when it is just sending.
    """

    def __init__(self, channel: grpc.Channel, messages: Messages, call: Call) -> None:
        self._call = call
        self._messages = _GuardedMessages(messages)
        self._response = AssistantServiceStub(channel).UploadAudio.future(self._messages, **call.arguments)
        self._messages.attach(self._response)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have `callback` called, from another thread, when `result` will not wait any more."""
        self._response.add_done_callback(callback)

    def result(self) -> Audio:
        """Wait for the end; raises what the source or the call ended with."""
        try:
            with self._call:
                return _types.audio(self._response.result())
        except grpc.FutureCancelledError:
            raise self._messages.error or CancelledError("the upload was cancelled") from None


class _GuardedMessages:
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

    def __iter__(self) -> "_GuardedMessages":
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
