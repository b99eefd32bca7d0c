from auricle.v1 import audio_pb2 as _audio_pb2
from auricle.v1 import generation_pb2 as _generation_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChatRequest(_message.Message):
    __slots__ = ("messages", "config")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    config: _generation_pb2.GenerationConfig
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., config: _Optional[_Union[_generation_pb2.GenerationConfig, _Mapping]] = ...) -> None: ...

class StreamChatRequest(_message.Message):
    __slots__ = ("chat",)
    CHAT_FIELD_NUMBER: _ClassVar[int]
    chat: ChatRequest
    def __init__(self, chat: _Optional[_Union[ChatRequest, _Mapping]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("role", "content")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    role: _generation_pb2.Role
    content: _containers.RepeatedCompositeFieldContainer[ContentPart]
    def __init__(self, role: _Optional[_Union[_generation_pb2.Role, str]] = ..., content: _Optional[_Iterable[_Union[ContentPart, _Mapping]]] = ...) -> None: ...

class ContentPart(_message.Message):
    __slots__ = ("text", "audio")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    text: str
    audio: AudioSource
    def __init__(self, text: _Optional[str] = ..., audio: _Optional[_Union[AudioSource, _Mapping]] = ...) -> None: ...

class AudioSource(_message.Message):
    __slots__ = ("data", "name", "raw_pcm")
    DATA_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RAW_PCM_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    name: str
    raw_pcm: _audio_pb2.RawPcm
    def __init__(self, data: _Optional[bytes] = ..., name: _Optional[str] = ..., raw_pcm: _Optional[_Union[_audio_pb2.RawPcm, _Mapping]] = ...) -> None: ...

class ChatResponse(_message.Message):
    __slots__ = ("text", "finish_reason", "heard", "usage", "model")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    text: str
    finish_reason: _generation_pb2.FinishReason
    heard: _containers.RepeatedCompositeFieldContainer[HeardAudio]
    usage: Usage
    model: str
    def __init__(self, text: _Optional[str] = ..., finish_reason: _Optional[_Union[_generation_pb2.FinishReason, str]] = ..., heard: _Optional[_Iterable[_Union[HeardAudio, _Mapping]]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., model: _Optional[str] = ...) -> None: ...

class StreamChatResponse(_message.Message):
    __slots__ = ("text_delta", "summary")
    TEXT_DELTA_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    text_delta: str
    summary: ChatResponse
    def __init__(self, text_delta: _Optional[str] = ..., summary: _Optional[_Union[ChatResponse, _Mapping]] = ...) -> None: ...

class HeardAudio(_message.Message):
    __slots__ = ("received_seconds", "heard_seconds", "windows", "warnings")
    RECEIVED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    HEARD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    received_seconds: float
    heard_seconds: float
    windows: _containers.RepeatedCompositeFieldContainer[_audio_pb2.AudioWindow]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, received_seconds: _Optional[float] = ..., heard_seconds: _Optional[float] = ..., windows: _Optional[_Iterable[_Union[_audio_pb2.AudioWindow, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("audio_received_seconds", "audio_heard_seconds", "audio_tokens", "cached_tokens", "prompt_tokens", "output_tokens", "timings", "first_token_ms", "total_ms", "cached_prompt_tokens")
    AUDIO_RECEIVED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_HEARD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    CACHED_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    audio_received_seconds: float
    audio_heard_seconds: float
    audio_tokens: int
    cached_tokens: int
    prompt_tokens: int
    output_tokens: int
    timings: _containers.RepeatedCompositeFieldContainer[ServiceTiming]
    first_token_ms: float
    total_ms: float
    cached_prompt_tokens: int
    def __init__(self, audio_received_seconds: _Optional[float] = ..., audio_heard_seconds: _Optional[float] = ..., audio_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., timings: _Optional[_Iterable[_Union[ServiceTiming, _Mapping]]] = ..., first_token_ms: _Optional[float] = ..., total_ms: _Optional[float] = ..., cached_prompt_tokens: _Optional[int] = ...) -> None: ...

class ServiceTiming(_message.Message):
    __slots__ = ("service", "wall_ms", "compute_ms")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    WALL_MS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_MS_FIELD_NUMBER: _ClassVar[int]
    service: str
    wall_ms: float
    compute_ms: float
    def __init__(self, service: _Optional[str] = ..., wall_ms: _Optional[float] = ..., compute_ms: _Optional[float] = ...) -> None: ...

class UploadAudioRequest(_message.Message):
    __slots__ = ("config", "chunk")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    config: UploadAudioConfig
    chunk: bytes
    def __init__(self, config: _Optional[_Union[UploadAudioConfig, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class UploadAudioConfig(_message.Message):
    __slots__ = ("raw_pcm", "upload_id", "offset_bytes", "size_bytes")
    RAW_PCM_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    raw_pcm: _audio_pb2.RawPcm
    upload_id: str
    offset_bytes: int
    size_bytes: int
    def __init__(self, raw_pcm: _Optional[_Union[_audio_pb2.RawPcm, _Mapping]] = ..., upload_id: _Optional[str] = ..., offset_bytes: _Optional[int] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class GetUploadRequest(_message.Message):
    __slots__ = ("upload_id",)
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    def __init__(self, upload_id: _Optional[str] = ...) -> None: ...

class GetUploadResponse(_message.Message):
    __slots__ = ("received_bytes", "audio", "expire_time")
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    received_bytes: int
    audio: Audio
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, received_bytes: _Optional[int] = ..., audio: _Optional[_Union[Audio, _Mapping]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UploadAudioResponse(_message.Message):
    __slots__ = ("audio",)
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    audio: Audio
    def __init__(self, audio: _Optional[_Union[Audio, _Mapping]] = ...) -> None: ...

class Audio(_message.Message):
    __slots__ = ("name", "size_bytes", "content_sha256", "expire_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONTENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    size_bytes: int
    content_sha256: bytes
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., size_bytes: _Optional[int] = ..., content_sha256: _Optional[bytes] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DeleteAudioRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteAudioResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model", "fingerprint", "context_tokens", "max_audio_parts", "max_audio_bytes", "ready", "services")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_AUDIO_PARTS_FIELD_NUMBER: _ClassVar[int]
    MAX_AUDIO_BYTES_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    context_tokens: int
    max_audio_parts: int
    max_audio_bytes: int
    ready: bool
    services: _containers.RepeatedCompositeFieldContainer[ServiceStatus]
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., context_tokens: _Optional[int] = ..., max_audio_parts: _Optional[int] = ..., max_audio_bytes: _Optional[int] = ..., ready: bool = ..., services: _Optional[_Iterable[_Union[ServiceStatus, _Mapping]]] = ...) -> None: ...

class ServiceStatus(_message.Message):
    __slots__ = ("service", "ready", "detail")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    service: str
    ready: bool
    detail: str
    def __init__(self, service: _Optional[str] = ..., ready: bool = ..., detail: _Optional[str] = ...) -> None: ...
