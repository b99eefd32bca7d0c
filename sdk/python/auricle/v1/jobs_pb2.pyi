from auricle.v1 import audio_pb2 as _audio_pb2
from auricle.v1 import generation_pb2 as _generation_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobPriority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_PRIORITY_UNSPECIFIED: _ClassVar[JobPriority]
    JOB_PRIORITY_INTERACTIVE: _ClassVar[JobPriority]
    JOB_PRIORITY_NORMAL: _ClassVar[JobPriority]
    JOB_PRIORITY_BULK: _ClassVar[JobPriority]

class ResultFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESULT_FORMAT_UNSPECIFIED: _ClassVar[ResultFormat]
    RESULT_FORMAT_TXT: _ClassVar[ResultFormat]
    RESULT_FORMAT_JSON: _ClassVar[ResultFormat]
    RESULT_FORMAT_SRT: _ClassVar[ResultFormat]
    RESULT_FORMAT_VTT: _ClassVar[ResultFormat]
JOB_PRIORITY_UNSPECIFIED: JobPriority
JOB_PRIORITY_INTERACTIVE: JobPriority
JOB_PRIORITY_NORMAL: JobPriority
JOB_PRIORITY_BULK: JobPriority
RESULT_FORMAT_UNSPECIFIED: ResultFormat
RESULT_FORMAT_TXT: ResultFormat
RESULT_FORMAT_JSON: ResultFormat
RESULT_FORMAT_SRT: ResultFormat
RESULT_FORMAT_VTT: ResultFormat

class AnalysisJob(_message.Message):
    __slots__ = ("name", "audio", "task", "priority", "labels", "webhook", "ttl", "state", "progress", "error", "failed_windows", "create_time", "start_time", "end_time", "expire_time", "revision")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[AnalysisJob.State]
        STATE_QUEUED: _ClassVar[AnalysisJob.State]
        STATE_RUNNING: _ClassVar[AnalysisJob.State]
        STATE_SUCCEEDED: _ClassVar[AnalysisJob.State]
        STATE_FAILED: _ClassVar[AnalysisJob.State]
        STATE_CANCELED: _ClassVar[AnalysisJob.State]
    STATE_UNSPECIFIED: AnalysisJob.State
    STATE_QUEUED: AnalysisJob.State
    STATE_RUNNING: AnalysisJob.State
    STATE_SUCCEEDED: AnalysisJob.State
    STATE_FAILED: AnalysisJob.State
    STATE_CANCELED: AnalysisJob.State
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FAILED_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    audio: JobAudio
    task: AnalysisTask
    priority: JobPriority
    labels: _containers.ScalarMap[str, str]
    webhook: Webhook
    ttl: _duration_pb2.Duration
    state: AnalysisJob.State
    progress: JobProgress
    error: JobError
    failed_windows: _containers.RepeatedCompositeFieldContainer[FailedWindow]
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    revision: int
    def __init__(self, name: _Optional[str] = ..., audio: _Optional[_Union[JobAudio, _Mapping]] = ..., task: _Optional[_Union[AnalysisTask, _Mapping]] = ..., priority: _Optional[_Union[JobPriority, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., webhook: _Optional[_Union[Webhook, _Mapping]] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., state: _Optional[_Union[AnalysisJob.State, str]] = ..., progress: _Optional[_Union[JobProgress, _Mapping]] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., failed_windows: _Optional[_Iterable[_Union[FailedWindow, _Mapping]]] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class JobAudio(_message.Message):
    __slots__ = ("name", "uri", "raw_pcm")
    NAME_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    RAW_PCM_FIELD_NUMBER: _ClassVar[int]
    name: str
    uri: str
    raw_pcm: _audio_pb2.RawPcm
    def __init__(self, name: _Optional[str] = ..., uri: _Optional[str] = ..., raw_pcm: _Optional[_Union[_audio_pb2.RawPcm, _Mapping]] = ...) -> None: ...

class AnalysisTask(_message.Message):
    __slots__ = ("transcribe", "analyze", "segment", "config")
    TRANSCRIBE_FIELD_NUMBER: _ClassVar[int]
    ANALYZE_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    transcribe: TranscribeTask
    analyze: AnalyzeTask
    segment: SegmentTask
    config: _generation_pb2.GenerationConfig
    def __init__(self, transcribe: _Optional[_Union[TranscribeTask, _Mapping]] = ..., analyze: _Optional[_Union[AnalyzeTask, _Mapping]] = ..., segment: _Optional[_Union[SegmentTask, _Mapping]] = ..., config: _Optional[_Union[_generation_pb2.GenerationConfig, _Mapping]] = ...) -> None: ...

class TranscribeTask(_message.Message):
    __slots__ = ("instruction",)
    INSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    instruction: str
    def __init__(self, instruction: _Optional[str] = ...) -> None: ...

class AnalyzeTask(_message.Message):
    __slots__ = ("instruction",)
    INSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    instruction: str
    def __init__(self, instruction: _Optional[str] = ...) -> None: ...

class SegmentTask(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Webhook(_message.Message):
    __slots__ = ("url",)
    URL_FIELD_NUMBER: _ClassVar[int]
    url: str
    def __init__(self, url: _Optional[str] = ...) -> None: ...

class JobProgress(_message.Message):
    __slots__ = ("audio_seconds", "prepared", "windows", "encoded_windows", "finished_windows", "failed_windows", "finished_seconds")
    AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    ENCODED_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    FAILED_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    audio_seconds: float
    prepared: bool
    windows: int
    encoded_windows: int
    finished_windows: int
    failed_windows: int
    finished_seconds: float
    def __init__(self, audio_seconds: _Optional[float] = ..., prepared: bool = ..., windows: _Optional[int] = ..., encoded_windows: _Optional[int] = ..., finished_windows: _Optional[int] = ..., failed_windows: _Optional[int] = ..., finished_seconds: _Optional[float] = ...) -> None: ...

class FailedWindow(_message.Message):
    __slots__ = ("index", "start_seconds", "duration_seconds", "error")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    START_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DURATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    index: int
    start_seconds: float
    duration_seconds: float
    error: JobError
    def __init__(self, index: _Optional[int] = ..., start_seconds: _Optional[float] = ..., duration_seconds: _Optional[float] = ..., error: _Optional[_Union[JobError, _Mapping]] = ...) -> None: ...

class JobError(_message.Message):
    __slots__ = ("code", "reason", "message", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    message: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class AnalysisResult(_message.Message):
    __slots__ = ("segments", "text", "failed_windows", "received_seconds", "heard_seconds", "warnings", "model", "cached_windows", "output_tokens")
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FAILED_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    HEARD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CACHED_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[ResultSegment]
    text: str
    failed_windows: _containers.RepeatedCompositeFieldContainer[FailedWindow]
    received_seconds: float
    heard_seconds: float
    warnings: _containers.RepeatedScalarFieldContainer[str]
    model: str
    cached_windows: int
    output_tokens: int
    def __init__(self, segments: _Optional[_Iterable[_Union[ResultSegment, _Mapping]]] = ..., text: _Optional[str] = ..., failed_windows: _Optional[_Iterable[_Union[FailedWindow, _Mapping]]] = ..., received_seconds: _Optional[float] = ..., heard_seconds: _Optional[float] = ..., warnings: _Optional[_Iterable[str]] = ..., model: _Optional[str] = ..., cached_windows: _Optional[int] = ..., output_tokens: _Optional[int] = ...) -> None: ...

class ResultSegment(_message.Message):
    __slots__ = ("start_seconds", "end_seconds", "text", "label", "supports_answer")
    START_SECONDS_FIELD_NUMBER: _ClassVar[int]
    END_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SUPPORTS_ANSWER_FIELD_NUMBER: _ClassVar[int]
    start_seconds: float
    end_seconds: float
    text: str
    label: str
    supports_answer: bool
    def __init__(self, start_seconds: _Optional[float] = ..., end_seconds: _Optional[float] = ..., text: _Optional[str] = ..., label: _Optional[str] = ..., supports_answer: bool = ...) -> None: ...

class CreateAnalysisJobRequest(_message.Message):
    __slots__ = ("analysis_job", "request_id", "validate_only")
    ANALYSIS_JOB_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    analysis_job: AnalysisJob
    request_id: str
    validate_only: bool
    def __init__(self, analysis_job: _Optional[_Union[AnalysisJob, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class CreateAnalysisJobResponse(_message.Message):
    __slots__ = ("analysis_job",)
    ANALYSIS_JOB_FIELD_NUMBER: _ClassVar[int]
    analysis_job: AnalysisJob
    def __init__(self, analysis_job: _Optional[_Union[AnalysisJob, _Mapping]] = ...) -> None: ...

class GetAnalysisJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetAnalysisJobResponse(_message.Message):
    __slots__ = ("analysis_job",)
    ANALYSIS_JOB_FIELD_NUMBER: _ClassVar[int]
    analysis_job: AnalysisJob
    def __init__(self, analysis_job: _Optional[_Union[AnalysisJob, _Mapping]] = ...) -> None: ...

class ListAnalysisJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "filter")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    filter: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ...) -> None: ...

class ListAnalysisJobsResponse(_message.Message):
    __slots__ = ("analysis_jobs", "next_page_token")
    ANALYSIS_JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    analysis_jobs: _containers.RepeatedCompositeFieldContainer[AnalysisJob]
    next_page_token: str
    def __init__(self, analysis_jobs: _Optional[_Iterable[_Union[AnalysisJob, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchAnalysisJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class WatchAnalysisJobResponse(_message.Message):
    __slots__ = ("analysis_job", "segments")
    ANALYSIS_JOB_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    analysis_job: AnalysisJob
    segments: _containers.RepeatedCompositeFieldContainer[ResultSegment]
    def __init__(self, analysis_job: _Optional[_Union[AnalysisJob, _Mapping]] = ..., segments: _Optional[_Iterable[_Union[ResultSegment, _Mapping]]] = ...) -> None: ...

class GetAnalysisResultRequest(_message.Message):
    __slots__ = ("name", "format")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    name: str
    format: ResultFormat
    def __init__(self, name: _Optional[str] = ..., format: _Optional[_Union[ResultFormat, str]] = ...) -> None: ...

class GetAnalysisResultResponse(_message.Message):
    __slots__ = ("result", "file")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    result: AnalysisResult
    file: bytes
    def __init__(self, result: _Optional[_Union[AnalysisResult, _Mapping]] = ..., file: _Optional[bytes] = ...) -> None: ...

class CancelAnalysisJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CancelAnalysisJobResponse(_message.Message):
    __slots__ = ("analysis_job",)
    ANALYSIS_JOB_FIELD_NUMBER: _ClassVar[int]
    analysis_job: AnalysisJob
    def __init__(self, analysis_job: _Optional[_Union[AnalysisJob, _Mapping]] = ...) -> None: ...

class DeleteAnalysisJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteAnalysisJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AskAnalysisJobRequest(_message.Message):
    __slots__ = ("name", "question", "config")
    NAME_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    name: str
    question: str
    config: _generation_pb2.GenerationConfig
    def __init__(self, name: _Optional[str] = ..., question: _Optional[str] = ..., config: _Optional[_Union[_generation_pb2.GenerationConfig, _Mapping]] = ...) -> None: ...

class AskAnalysisJobResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: AnalysisResult
    def __init__(self, result: _Optional[_Union[AnalysisResult, _Mapping]] = ...) -> None: ...
