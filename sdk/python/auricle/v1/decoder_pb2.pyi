from auricle.v1 import audio_pb2 as _audio_pb2
from auricle.v1 import generation_pb2 as _generation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DecoderPriority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECODER_PRIORITY_UNSPECIFIED: _ClassVar[DecoderPriority]
    DECODER_PRIORITY_INTERACTIVE: _ClassVar[DecoderPriority]
    DECODER_PRIORITY_BULK: _ClassVar[DecoderPriority]
DECODER_PRIORITY_UNSPECIFIED: DecoderPriority
DECODER_PRIORITY_INTERACTIVE: DecoderPriority
DECODER_PRIORITY_BULK: DecoderPriority

class GenerateRequest(_message.Message):
    __slots__ = ("messages", "config", "priority")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[DecoderMessage]
    config: _generation_pb2.GenerationConfig
    priority: DecoderPriority
    def __init__(self, messages: _Optional[_Iterable[_Union[DecoderMessage, _Mapping]]] = ..., config: _Optional[_Union[_generation_pb2.GenerationConfig, _Mapping]] = ..., priority: _Optional[_Union[DecoderPriority, str]] = ...) -> None: ...

class DecoderMessage(_message.Message):
    __slots__ = ("role", "parts")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    role: _generation_pb2.Role
    parts: _containers.RepeatedCompositeFieldContainer[DecoderPart]
    def __init__(self, role: _Optional[_Union[_generation_pb2.Role, str]] = ..., parts: _Optional[_Iterable[_Union[DecoderPart, _Mapping]]] = ...) -> None: ...

class DecoderPart(_message.Message):
    __slots__ = ("text", "audio")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    text: str
    audio: AudioEmbedding
    def __init__(self, text: _Optional[str] = ..., audio: _Optional[_Union[AudioEmbedding, _Mapping]] = ...) -> None: ...

class AudioEmbedding(_message.Message):
    __slots__ = ("windows",)
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    windows: _containers.RepeatedCompositeFieldContainer[_audio_pb2.Tensor]
    def __init__(self, windows: _Optional[_Iterable[_Union[_audio_pb2.Tensor, _Mapping]]] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("text_delta", "completion")
    TEXT_DELTA_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    text_delta: str
    completion: Completion
    def __init__(self, text_delta: _Optional[str] = ..., completion: _Optional[_Union[Completion, _Mapping]] = ...) -> None: ...

class Completion(_message.Message):
    __slots__ = ("finish_reason", "prompt_tokens", "output_tokens", "queue_ms", "prefill_ms", "decode_ms", "token_ids", "cached_prompt_tokens")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    PREFILL_MS_FIELD_NUMBER: _ClassVar[int]
    DECODE_MS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    CACHED_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    finish_reason: _generation_pb2.FinishReason
    prompt_tokens: int
    output_tokens: int
    queue_ms: float
    prefill_ms: float
    decode_ms: float
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    cached_prompt_tokens: int
    def __init__(self, finish_reason: _Optional[_Union[_generation_pb2.FinishReason, str]] = ..., prompt_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., queue_ms: _Optional[float] = ..., prefill_ms: _Optional[float] = ..., decode_ms: _Optional[float] = ..., token_ids: _Optional[_Iterable[int]] = ..., cached_prompt_tokens: _Optional[int] = ...) -> None: ...

class DescribeDecoderRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeDecoderResponse(_message.Message):
    __slots__ = ("model", "fingerprint", "hidden_size", "context_tokens", "mel_bins")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MEL_BINS_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    hidden_size: int
    context_tokens: int
    mel_bins: int
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., hidden_size: _Optional[int] = ..., context_tokens: _Optional[int] = ..., mel_bins: _Optional[int] = ...) -> None: ...
