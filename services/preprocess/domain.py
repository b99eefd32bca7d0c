"""What both halves of the service know: the order, its limits, and what comes back. Plain data, no libraries."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a recording was refused; each travels to the caller as the error's reason."""

    AUDIO_EMPTY = "AUDIO_EMPTY"
    AUDIO_FORMAT_UNSUPPORTED = "AUDIO_FORMAT_UNSUPPORTED"
    AUDIO_CODEC_UNSUPPORTED = "AUDIO_CODEC_UNSUPPORTED"
    AUDIO_STREAM_MISSING = "AUDIO_STREAM_MISSING"
    AUDIO_MALFORMED = "AUDIO_MALFORMED"
    AUDIO_SAMPLE_RATE_INVALID = "AUDIO_SAMPLE_RATE_INVALID"
    AUDIO_CHANNELS_INVALID = "AUDIO_CHANNELS_INVALID"
    AUDIO_SAMPLES_INVALID = "AUDIO_SAMPLES_INVALID"
    AUDIO_TOO_SHORT = "AUDIO_TOO_SHORT"
    AUDIO_TOO_LONG = "AUDIO_TOO_LONG"
    AUDIO_TOO_LARGE = "AUDIO_TOO_LARGE"
    AUDIO_MEMORY_EXCEEDED = "AUDIO_MEMORY_EXCEEDED"
    AUDIO_CPU_EXCEEDED = "AUDIO_CPU_EXCEEDED"
    AUDIO_CRASHED_DECODER = "AUDIO_CRASHED_DECODER"


@dataclass(frozen=True)
class Limits:
    """What one child may use and what a recording may claim; the same for every recording.

    Attributes:
        cpu_seconds: processor time of one child.
        memory_bytes: address space that a child may add to what it starts with.
        spool_bytes: most bytes of a file that must be complete before it can be read (an MP4 whose index comes last).
        spool_dir: where such a file lies, without a name; None means the system's place for temporary files.
        max_channels: most channels of a source.
        min_sample_rate_hz, max_sample_rate_hz: sample rates taken.
    """

    cpu_seconds: int
    memory_bytes: int
    spool_bytes: int
    spool_dir: str | None
    max_channels: int
    min_sample_rate_hz: int
    max_sample_rate_hz: int


@dataclass(frozen=True)
class PcmFormat:
    """Headerless samples: little-endian, interleaved; `sample_format` is "s16le", "s32le" or "f32le"."""

    sample_rate_hz: int
    channels: int
    sample_format: str


@dataclass(frozen=True)
class Order:
    """How one recording is to be read and cut.

    Attributes:
        mel_bins: 80 or 128.
        max_window_seconds: longest window, at most 30.
        max_duration_seconds: a longer recording is refused.
        single_window: refuse what does not fit one window, instead of cutting it.
        pcm: set when the bytes are headerless samples.
    """

    mel_bins: int
    max_window_seconds: float
    max_duration_seconds: float
    single_window: bool = False
    pcm: PcmFormat | None = None


@dataclass(frozen=True)
class WindowFacts:
    """A window without its spectrogram. Samples are counted at 16 kHz; the hash is hex SHA-256 of float32 samples."""

    index: int
    start_sample: int
    num_samples: int
    content_sha256: str
    speech_ratio: float
    rms_dbfs: float
    peak_dbfs: float
    mel_bins: int
    stored_frames: int
    num_frames: int
    num_tokens: int


@dataclass(frozen=True)
class Window:
    """A window; `features` are float32 little-endian bytes of shape (mel_bins, stored_frames)."""

    facts: WindowFacts
    features: bytes


@dataclass(frozen=True)
class Damage:
    """A place in the source that could not be heard."""

    at_seconds: float
    message: str


@dataclass(frozen=True)
class Summary:
    """What a recording was, once all of it was heard. Samples are counted at 16 kHz."""

    num_samples: int
    container: str
    codec: str
    sample_rate_hz: int
    channels: int
    damages: tuple[Damage, ...]
    compute_ms: float


@dataclass(frozen=True)
class Refusal:
    """Why a recording was not heard, as the child tells it."""

    reason: Reason
    message: str
    metadata: dict[str, str]
