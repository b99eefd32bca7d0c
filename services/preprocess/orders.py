"""A caller's configuration, checked, as an order to a child."""

from auricle.v1 import audio_pb2, preprocess_pb2
from services.common.errors import InvalidArgument
from services.preprocess.domain import Order, PcmFormat, Reason
from services.preprocess.settings import PreprocessSettings
from services.qwen2_audio.mel import MAX_WINDOW_SECONDS

MEL_BINS = (80, 128)
# Shorter windows would leave cuts no choice, and remainders no audio token.
MIN_WINDOW_SECONDS = 1.0

_SAMPLE_FORMATS = {
    audio_pb2.SAMPLE_FORMAT_S16LE: "s16le",
    audio_pb2.SAMPLE_FORMAT_S32LE: "s32le",
    audio_pb2.SAMPLE_FORMAT_F32LE: "f32le",
}


def to_order(config: preprocess_pb2.PreprocessConfig, settings: PreprocessSettings) -> Order:
    """The order that a configuration means under the service's own limits.

    Raises:
        InvalidArgument: a field is out of its range.
    """
    if config.mel_bins not in MEL_BINS:
        raise _invalid("mel_bins", f"is {config.mel_bins}; 80 and 128 can be computed")
    max_window_seconds = config.max_window_seconds or float(MAX_WINDOW_SECONDS)
    if not MIN_WINDOW_SECONDS <= max_window_seconds <= MAX_WINDOW_SECONDS:
        raise _invalid("max_window_seconds", f"is {max_window_seconds:g}; 1 to {MAX_WINDOW_SECONDS} are possible")
    if not config.max_duration_seconds >= 0:
        raise _invalid("max_duration_seconds", f"is {config.max_duration_seconds:g}; it cannot be negative")
    return Order(
        mel_bins=config.mel_bins,
        max_window_seconds=max_window_seconds,
        max_duration_seconds=min(
            config.max_duration_seconds or settings.max_duration_seconds, settings.max_duration_seconds
        ),
        single_window=config.single_window,
        pcm=_pcm(config.raw_pcm, settings) if config.HasField("raw_pcm") else None,
    )


def _pcm(raw: audio_pb2.RawPcm, settings: PreprocessSettings) -> PcmFormat:
    lowest, highest = settings.min_sample_rate_hz, settings.max_sample_rate_hz
    if not lowest <= raw.sample_rate_hz <= highest:
        description = f"is {raw.sample_rate_hz}; {lowest} to {highest} Hz can be heard"
        raise _invalid("raw_pcm.sample_rate_hz", description, Reason.AUDIO_SAMPLE_RATE_INVALID)
    if not 1 <= raw.channels <= settings.max_channels:
        description = f"is {raw.channels}; 1 to {settings.max_channels} can be heard"
        raise _invalid("raw_pcm.channels", description, Reason.AUDIO_CHANNELS_INVALID)
    sample_format = _SAMPLE_FORMATS.get(raw.sample_format)
    if sample_format is None:
        raise _invalid("raw_pcm.sample_format", "must be one of S16LE, S32LE, F32LE")
    return PcmFormat(raw.sample_rate_hz, raw.channels, sample_format)


def _invalid(field: str, description: str, reason: Reason | None = None) -> InvalidArgument:
    return InvalidArgument.of_field(f"config.{field}", description, reason=reason or "CONFIG_INVALID")
