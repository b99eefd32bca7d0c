"""What a chat must be before any work is done for it. What a recording must be is for preprocess to say."""

from collections.abc import Iterator
from dataclasses import dataclass

from auricle.v1 import assistant_pb2
from services.common.errors import FieldViolation, InvalidArgument
from services.common.generation import check_request, refuse


@dataclass(frozen=True)
class ChatLimits:
    """Limits of one request; see GatewaySettings."""

    max_audio_parts: int
    max_inline_bytes: int


def check_chat(request: assistant_pb2.ChatRequest, limits: ChatLimits) -> None:
    """Refuse a request that breaks the contract.

    Raises:
        InvalidArgument: TOO_MANY_AUDIO_PARTS, AUDIO_TOO_LARGE, or INVALID_ARGUMENT with a violation for each mistake.
    """
    sources = list(audio_sources(request))
    if len(sources) > limits.max_audio_parts:
        raise InvalidArgument.of_field(
            "messages",
            f"at most {limits.max_audio_parts} audio parts in one request, {len(sources)} came",
            reason="TOO_MANY_AUDIO_PARTS",
        )
    check_request(request.messages, "content", request.config)
    refuse([violation for field, source in sources for violation in _source_violations(field, source)])
    for field, source in sources:
        _check_inline_size(field, source, limits.max_inline_bytes)


def audio_field(message: int, part: int) -> str:
    """The place of an audio part in the request, as errors name it."""
    return f"messages[{message}].content[{part}].audio"


def audio_sources(request: assistant_pb2.ChatRequest) -> Iterator[tuple[str, assistant_pb2.AudioSource]]:
    """Every audio part with its place in the request."""
    for m, message in enumerate(request.messages):
        for p, part in enumerate(message.content):
            if part.WhichOneof("part") == "audio":
                yield audio_field(m, p), part.audio


def _source_violations(field: str, source: assistant_pb2.AudioSource) -> Iterator[FieldViolation]:
    kind = source.WhichOneof("source")
    if kind is None:
        yield FieldViolation(field, "must have data or a name")
    if kind == "name" and source.HasField("raw_pcm"):
        yield FieldViolation(f"{field}.raw_pcm", "describes inline data; an upload was described when it was made")


def _check_inline_size(field: str, source: assistant_pb2.AudioSource, limit: int) -> None:
    # ByteSize first: reading the field copies all of it.
    if source.ByteSize() > limit and len(source.data) > limit:
        raise InvalidArgument.of_field(
            f"{field}.data",
            f"at most {limit} bytes inline, {len(source.data)} came; upload larger recordings with UploadAudio"
            " and name them",
            reason="AUDIO_TOO_LARGE",
        )
