"""The blocking client."""

from collections.abc import Mapping
from typing import Any, Unpack

from auricle import _types
from auricle._connection import (
    DEFAULT_MAX_MESSAGE_BYTES,
    DEFAULT_TIMEOUT_SECONDS,
    Connection,
    TLSConfig,
)
from auricle._jobs import Jobs
from auricle._requests import Conversation, Generation, chat_request
from auricle._stream import TextStream
from auricle._types import Answer, Audio, Model
from auricle._upload import Upload
from auricle._upload_messages import Progress
from auricle.v1 import assistant_pb2
from auricle.v1.assistant_pb2_grpc import AssistantServiceStub


class Client:
    """Asks an Auricle gateway. Threads may share one; close it, or use it as a context manager.

    Args:
        address: `host:port`; None takes AURICLE_ADDRESS, or 127.0.0.1:8400.
        api_key: None takes AURICLE_API_KEY, or sends none.
        tls: True encrypts and verifies the server by AURICLE_TLS_CA, or by the public authorities; TLSConfig names the
            certificates; None encrypts when AURICLE_TLS_CA is set; False never encrypts.
        timeout_seconds: deadline of every call that names none itself.
        max_message_bytes: largest request and largest answer.
        metadata: sent with every call, besides what the client itself sends.

    Every method raises AuricleError when the call fails, and ValueError, TypeError or OSError when its arguments are
    wrong or a file cannot be read; then nothing was sent. Calls that no server answered (UNAVAILABLE) are repeated for
    up to three seconds, others never.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        api_key: str | None = None,
        tls: bool | TLSConfig | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._connection = Connection.resolve(address, api_key, tls, timeout_seconds, max_message_bytes, metadata)
        self._channel = self._connection.sync_channel()
        self._stub = AssistantServiceStub(self._channel)

    @property
    def jobs(self) -> Jobs:
        """Tasks over recordings of any length."""
        return Jobs(self)

    def chat(
        self, conversation: Conversation, *, timeout_seconds: float | None = None, **generation: Unpack[Generation]
    ) -> Answer:
        """Ask and wait for the whole answer.

        Args:
            conversation: a question as a string; or the parts of one turn, such as
                `[{"type": "audio", "audio": "clip.wav"}, {"type": "text", "text": "What is said?"}]`, where audio is a
                path, bytes, an array (with "sample_rate", 16,000 by default) or an uploaded Audio; or several turns,
                `[{"role": "user", "content": ...}, ...]`. Audio without text is voice chat.
            timeout_seconds: deadline of this call; None takes the client's.
            **generation: see `Generation`.
        """
        request = chat_request(conversation, generation)
        with self._connection.call(timeout_seconds) as call:
            return _types.answer(self._stub.Chat(request, **call.arguments))

    def stream_chat(
        self, conversation: Conversation, *, timeout_seconds: float | None = None, **generation: Unpack[Generation]
    ) -> TextStream:
        """Ask and read the answer while it is decoded; the arguments are those of `chat`.

        with client.stream_chat("Tell me a story.") as stream:
            for text in stream:
                print(text, end="", flush=True)
        print(stream.answer.usage)
        """
        request = assistant_pb2.StreamChatRequest(chat=chat_request(conversation, generation))
        call = self._connection.call(timeout_seconds)
        return TextStream(call, self._stub.StreamChat(request, **call.arguments))

    def upload(
        self,
        audio: Any,
        *,
        sample_rate: int | None = None,
        on_progress: Progress | None = None,
        timeout_seconds: float | None = None,
    ) -> Audio:
        """Store a recording once, to be named in conversations. Reads it in chunks; memory does not grow with it.

        When the connection breaks, a file of more than 4 MiB goes on where it ended; what cannot be read again, such as
        a pipe, does not.

        Args:
            audio: a path, bytes, an array, or a binary file object, which is read from where it stands and left open.
            sample_rate: of an array, in Hz; 16,000 by default.
            on_progress: called with the bytes sent and the bytes in all (None when unknown), from another thread; after
                a break it goes back to what had arrived.
            timeout_seconds: deadline of the whole upload; None takes the client's.
        """
        return Upload(self._connection, audio, sample_rate, on_progress, timeout_seconds).run()

    def delete_audio(self, audio: Audio | str, *, timeout_seconds: float | None = None) -> None:
        """Remove an uploaded recording, given as Audio or by its name. Raises NotFoundError when there is none."""
        request = assistant_pb2.DeleteAudioRequest(name=audio.name if isinstance(audio, Audio) else audio)
        with self._connection.call(timeout_seconds) as call:
            self._stub.DeleteAudio(request, **call.arguments)

    def model(self, *, timeout_seconds: float | None = None) -> Model:
        """Which model answers, what it accepts, and whether every service is ready."""
        with self._connection.call(timeout_seconds) as call:
            return _types.model(self._stub.GetModel(assistant_pb2.GetModelRequest(), **call.arguments))

    def close(self) -> None:
        """Close the connection; questions in flight end with CancelledError."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
