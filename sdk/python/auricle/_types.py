"""What the platform answers, as plain frozen dataclasses."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from auricle.v1 import assistant_pb2, generation_pb2

T = TypeVar("T")


@dataclass(frozen=True)
class ServiceTiming:
    """Time that a request spent in one service.

    Attributes:
        service: "preprocess", "encoder" or "decoder".
        wall_ms: from the gateway's call to the service's answer; parts of a request run side by side.
        compute_ms: time in which the service computed for this request, summed over parallel parts.
    """

    service: str
    wall_ms: float
    compute_ms: float


@dataclass(frozen=True)
class Usage:
    """What a request used.

    Attributes:
        audio_received_seconds: seconds of audio in the request.
        audio_heard_seconds: seconds of audio given to the model.
        audio_tokens: tokens that the audio takes in the prompt.
        cached_tokens: audio tokens that came from the cache and were not encoded again.
        prompt_tokens: tokens of the prompt, audio tokens included.
        output_tokens: tokens generated.
        first_token_ms: from the request's arrival at the gateway to the first text.
        total_ms: from the request's arrival at the gateway to the end of the answer.
        timings: time spent in each service, in the order of the path.
        cached_prompt_tokens: tokens of the prompt that the decoder still knew from earlier requests.
    """

    audio_received_seconds: float
    audio_heard_seconds: float
    audio_tokens: int
    cached_tokens: int
    prompt_tokens: int
    output_tokens: int
    first_token_ms: float
    total_ms: float
    timings: tuple[ServiceTiming, ...] = ()
    cached_prompt_tokens: int = 0


@dataclass(frozen=True)
class AudioWindow:
    """A stretch of a recording, at most 30 s long, that the model heard at once.

    Attributes:
        index: place in the recording's sequence of windows, from 0.
        start_seconds: where the window begins in the recording.
        duration_seconds: its length; windows follow each other without gap or overlap.
        content_sha256: hex SHA-256 of its samples.
        speech_ratio: part of the window in which speech was found, 0 to 1.
        rms_dbfs: root mean square of the samples in dB relative to full scale.
        peak_dbfs: largest absolute sample in dB relative to full scale.
    """

    index: int
    start_seconds: float
    duration_seconds: float
    content_sha256: str
    speech_ratio: float
    rms_dbfs: float
    peak_dbfs: float


@dataclass(frozen=True)
class HeardAudio:
    """What the model was given of one audio part: seconds received, seconds heard, and what could not be decoded."""

    received_seconds: float
    heard_seconds: float
    windows: tuple[AudioWindow, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """An answer; `str(answer)` is its text.

    Attributes:
        text: the answer.
        finish_reason: "stop" (the model ended), "stop_string" (one of `stop` was met) or "length" (cut at
            `max_output_tokens`, or the context window is full).
        model: name of the model that answered.
        heard: what was heard of each audio part, in the order of the request.
        usage: tokens, seconds and the time spent in each service.
    """

    text: str
    finish_reason: str
    model: str
    heard: tuple[HeardAudio, ...]
    usage: Usage

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Audio:
    """An uploaded recording. `Audio("audios/...")` names one whose other facts are not known here.

    Attributes:
        name: resource name, "audios/{audio}".
        size_bytes: bytes stored.
        content_sha256: hex SHA-256 of the bytes.
        expire_time: when it will be removed, in UTC.
    """

    name: str
    size_bytes: int | None = None
    content_sha256: str | None = None
    expire_time: datetime | None = None


@dataclass(frozen=True)
class ServiceStatus:
    """State of one service behind the gateway; `detail` is for people."""

    service: str
    ready: bool
    detail: str


@dataclass(frozen=True)
class Model:
    """The model that answers, and what it accepts.

    Attributes:
        model: its name, for example "auricle-mini".
        fingerprint: hex SHA-256 of its checkpoint.
        context_tokens: most tokens of prompt and answer together.
        max_audio_parts: most audio parts in one request.
        max_audio_bytes: most bytes of one inline audio.
        ready: True while every service behind the gateway answers its health check.
        services: state of each service.
    """

    model: str
    fingerprint: str
    context_tokens: int
    max_audio_parts: int
    max_audio_bytes: int
    ready: bool
    services: tuple[ServiceStatus, ...] = ()


def _read(cls: type[T], message: Any, **converted: Any) -> T:
    """A `cls` whose fields are those of `message` with the same names, except the `converted` ones."""
    same = {field.name: getattr(message, field.name) for field in fields(cls) if field.name not in converted}  # type: ignore[arg-type]
    return cls(**same, **converted)


def _read_all(cls: type[T], messages: Iterable[Any]) -> tuple[T, ...]:
    return tuple(_read(cls, message) for message in messages)


def answer(response: assistant_pb2.ChatResponse) -> Answer:
    """The answer in a response."""
    usage = _read(Usage, response.usage, timings=_read_all(ServiceTiming, response.usage.timings))
    heard = tuple(_heard(audio) for audio in response.heard)
    return _read(Answer, response, finish_reason=_finish_reason(response.finish_reason), heard=heard, usage=usage)


def _heard(audio: assistant_pb2.HeardAudio) -> HeardAudio:
    windows = tuple(_read(AudioWindow, window, content_sha256=window.content_sha256.hex()) for window in audio.windows)
    return _read(HeardAudio, audio, windows=windows, warnings=tuple(audio.warnings))


def _finish_reason(value: int) -> str:
    known = generation_pb2.FinishReason.values()
    # A newer server may know reasons that this SDK does not.
    name = generation_pb2.FinishReason.Name(value) if value in known else f"FINISH_REASON_{value}"
    return name.removeprefix("FINISH_REASON_").lower()


def audio(response: assistant_pb2.UploadAudioResponse) -> Audio:
    """The recording that an upload made."""
    stored = response.audio
    expire_time = stored.expire_time.ToDatetime(tzinfo=UTC) if stored.HasField("expire_time") else None
    return _read(Audio, stored, content_sha256=stored.content_sha256.hex(), expire_time=expire_time)


def model(response: assistant_pb2.GetModelResponse) -> Model:
    """The model in a response."""
    return _read(Model, response, services=_read_all(ServiceStatus, response.services))
