from auricle.v1 import audio_pb2 as _audio_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PreprocessRequest(_message.Message):
    __slots__ = ("config", "chunk")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    config: PreprocessConfig
    chunk: bytes
    def __init__(self, config: _Optional[_Union[PreprocessConfig, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class PreprocessConfig(_message.Message):
    __slots__ = ("mel_bins", "raw_pcm", "max_window_seconds", "single_window", "max_duration_seconds")
    MEL_BINS_FIELD_NUMBER: _ClassVar[int]
    RAW_PCM_FIELD_NUMBER: _ClassVar[int]
    MAX_WINDOW_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SINGLE_WINDOW_FIELD_NUMBER: _ClassVar[int]
    MAX_DURATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    mel_bins: int
    raw_pcm: _audio_pb2.RawPcm
    max_window_seconds: float
    single_window: bool
    max_duration_seconds: float
    def __init__(self, mel_bins: _Optional[int] = ..., raw_pcm: _Optional[_Union[_audio_pb2.RawPcm, _Mapping]] = ..., max_window_seconds: _Optional[float] = ..., single_window: bool = ..., max_duration_seconds: _Optional[float] = ...) -> None: ...

class PreprocessResponse(_message.Message):
    __slots__ = ("window", "summary")
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    window: PreprocessedWindow
    summary: PreprocessSummary
    def __init__(self, window: _Optional[_Union[PreprocessedWindow, _Mapping]] = ..., summary: _Optional[_Union[PreprocessSummary, _Mapping]] = ...) -> None: ...

class PreprocessedWindow(_message.Message):
    __slots__ = ("window", "log_mel")
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    LOG_MEL_FIELD_NUMBER: _ClassVar[int]
    window: _audio_pb2.AudioWindow
    log_mel: _audio_pb2.LogMel
    def __init__(self, window: _Optional[_Union[_audio_pb2.AudioWindow, _Mapping]] = ..., log_mel: _Optional[_Union[_audio_pb2.LogMel, _Mapping]] = ...) -> None: ...

class PreprocessSummary(_message.Message):
    __slots__ = ("received_seconds", "heard_seconds", "received_bytes", "container", "codec", "sample_rate_hz", "channels", "warnings", "compute_ms")
    RECEIVED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    HEARD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_MS_FIELD_NUMBER: _ClassVar[int]
    received_seconds: float
    heard_seconds: float
    received_bytes: int
    container: str
    codec: str
    sample_rate_hz: int
    channels: int
    warnings: _containers.RepeatedCompositeFieldContainer[DecodeWarning]
    compute_ms: float
    def __init__(self, received_seconds: _Optional[float] = ..., heard_seconds: _Optional[float] = ..., received_bytes: _Optional[int] = ..., container: _Optional[str] = ..., codec: _Optional[str] = ..., sample_rate_hz: _Optional[int] = ..., channels: _Optional[int] = ..., warnings: _Optional[_Iterable[_Union[DecodeWarning, _Mapping]]] = ..., compute_ms: _Optional[float] = ...) -> None: ...

class DecodeWarning(_message.Message):
    __slots__ = ("at_seconds", "message")
    AT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    at_seconds: float
    message: str
    def __init__(self, at_seconds: _Optional[float] = ..., message: _Optional[str] = ...) -> None: ...
