"""Uploads: a source cut into the messages of client streams, one chunk in memory at a time.

A large file goes under an id, so that one whose connection breaks is taken up where it ended.
"""

import threading
import time
import uuid
from contextlib import nullcontext
from typing import Any

import grpc

from auricle import _types
from auricle._audio import upload_source
from auricle._connection import Call, Connection
from auricle._errors import (
    AuricleError,
    CancelledError,
    DeadlineExceededError,
    NotFoundError,
    UnavailableError,
    UnimplementedError,
)
from auricle._types import Audio
from auricle._upload_messages import GuardedMessages, Progress, Source
from auricle.v1 import assistant_pb2
from auricle.v1.assistant_pb2_grpc import AssistantServiceStub

# What gRPC keeps of a pipe: enough to repeat an upload that was turned away, but no more, so that memory stays flat.
KEPT_BYTES = 4 * 2**20
# Files up to this size begin again when their connection breaks; larger ones go on.
RESUMED_BYTES = 4 * 2**20
# Tries in a row by which nothing more arrived, before an upload is given up: three seconds when nothing ever did, else
# fifteen, in which a gateway may start again.
MAX_FIRST_TRIES, MAX_FRUITLESS_TRIES = 5, 10
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.2, 2.0


class Upload:
    """One upload, from its source to the stored recording. Both clients use it: the asyncio one from a thread.

    It goes through gRPC's own threads: grpc.aio reports a call that the server ends early as INTERNAL when it is just
    sending.
    """

    def __init__(
        self,
        connection: Connection,
        audio: Any,
        sample_rate_hz: int | None,
        on_progress: Progress | None,
        timeout_seconds: float | None,
    ) -> None:
        self._connection = connection
        self._audio = audio
        self._sample_rate_hz = sample_rate_hz
        self._on_progress = on_progress
        self._first_call = connection.call(timeout_seconds)
        self._deadline = time.monotonic() + self._first_call.arguments["timeout"]
        self._cancelled = threading.Event()
        self._response: Any = None

    def run(self) -> Audio:
        """Send all of it and wait for the end; raises what the source or the last call ended with.

        A file that was opened here is closed at the end; a file object stays the caller's.
        """
        stream, raw_pcm = upload_source(self._audio, self._sample_rate_hz)
        config = assistant_pb2.UploadAudioConfig(raw_pcm=raw_pcm)
        with nullcontext() if stream is self._audio else stream:
            source = Source(stream, self._on_progress)
            if source.total_bytes is None:
                with self._connection.sync_channel(KEPT_BYTES) as channel:
                    return self._send(AssistantServiceStub(channel), source, config, self._first_call)
            config.size_bytes = source.total_bytes
            if source.total_bytes > RESUMED_BYTES:
                config.upload_id = str(uuid.uuid4())
            # Not by gRPC's own retries: one of a call that broke off while it was sending can end the whole process.
            with self._connection.sync_channel(kept_bytes=0) as channel:
                return self._send_and_resume(AssistantServiceStub(channel), source, config)

    def cancel(self) -> None:
        """Have `run` end with CancelledError soon; may be called from any thread."""
        self._cancelled.set()
        if self._response is not None:
            self._response.cancel()

    def _send_and_resume(
        self, stub: AssistantServiceStub, source: Source, config: assistant_pb2.UploadAudioConfig
    ) -> Audio:
        call, failure, tries = self._first_call, None, 0
        while True:
            try:
                if failure:
                    received_bytes, audio = self._received(stub, config.upload_id, failure)
                    if audio:
                        return audio
                    tries = 0 if received_bytes > config.offset_bytes else tries
                    config.offset_bytes = received_bytes
                    call = self._connection.call(self._left_seconds())
                return self._send(stub, source, config, call)
            except AuricleError as error:
                if not _may_go_on(error):
                    raise
                failure, tries = error, tries + 1
            if tries > (MAX_FRUITLESS_TRIES if config.offset_bytes else MAX_FIRST_TRIES):
                raise failure
            self._wait(tries)

    def _send(
        self, stub: AssistantServiceStub, source: Source, config: assistant_pb2.UploadAudioConfig, call: Call
    ) -> Audio:
        messages = GuardedMessages(source.messages(config))
        self._response = stub.UploadAudio.future(messages, **call.arguments)
        messages.attach(self._response)
        if self._cancelled.is_set():
            self._response.cancel()
        try:
            with call:
                return _types.audio(self._response.result())
        except grpc.FutureCancelledError:
            raise messages.error or CancelledError("the upload was cancelled") from None

    def _received(self, stub: AssistantServiceStub, upload_id: str, failure: AuricleError) -> tuple[int, Audio | None]:
        """Where the upload goes on, and the recording when it is complete after all."""
        if not upload_id:
            return 0, None
        try:
            with self._connection.call(self._left_seconds()) as call:
                progress = stub.GetUpload(assistant_pb2.GetUploadRequest(upload_id=upload_id), **call.arguments)
        except NotFoundError:
            return 0, None
        except UnimplementedError:
            raise failure from None
        return progress.received_bytes, _types.audio(progress.audio) if progress.HasField("audio") else None

    def _wait(self, tries: int) -> None:
        wait_seconds = min(_FIRST_WAIT_SECONDS * 2 ** (tries - 1), _LONGEST_WAIT_SECONDS, self._left_seconds())
        if self._cancelled.wait(wait_seconds):
            raise CancelledError("the upload was cancelled")

    def _left_seconds(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError("the upload did not end in time", request_id=self._first_call.request_id)
        return left


def _may_go_on(error: AuricleError) -> bool:
    """Whether an upload that ended so can be taken up again."""
    return isinstance(error, UnavailableError) or error.reason in ("UPLOAD_OFFSET_MISMATCH", "UPLOAD_COMPLETE")
