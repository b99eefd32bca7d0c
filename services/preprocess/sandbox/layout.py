"""Sample rates and channel counts that can be heard."""

from services.preprocess.domain import Limits, Reason
from services.preprocess.sandbox.refused import AudioRefused


def check_layout(sample_rate_hz: int, channels: int, limits: Limits) -> None:
    """Refuse rates and channel counts beyond the limits, whether a header or a frame claims them.

    Raises:
        AudioRefused: AUDIO_SAMPLE_RATE_INVALID or AUDIO_CHANNELS_INVALID.
    """
    lowest, highest = limits.min_sample_rate_hz, limits.max_sample_rate_hz
    if not lowest <= sample_rate_hz <= highest:
        message = f"the recording claims {sample_rate_hz} Hz; {lowest} to {highest} Hz can be heard"
        raise AudioRefused(Reason.AUDIO_SAMPLE_RATE_INVALID, message, sample_rate_hz=sample_rate_hz)
    if not 1 <= channels <= limits.max_channels:
        message = f"the recording claims {channels} channels; 1 to {limits.max_channels} can be heard"
        raise AudioRefused(Reason.AUDIO_CHANNELS_INVALID, message, channels=channels)
