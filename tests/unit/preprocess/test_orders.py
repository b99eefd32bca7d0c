"""A caller's configuration becomes an order, or an error that names its field."""

from typing import Any

import pytest

from auricle.v1 import audio_pb2, preprocess_pb2
from services.common.errors import InvalidArgument
from services.preprocess.domain import Order, PcmFormat
from services.preprocess.orders import to_order
from services.preprocess.settings import PreprocessSettings

pytestmark = pytest.mark.unit

OVERRIDES: dict[str, Any] = {"max_duration_seconds": 100.0, "max_channels": 8}
SETTINGS = PreprocessSettings(**OVERRIDES)


def order(**fields: Any) -> Order:
    return to_order(preprocess_pb2.PreprocessConfig(**{"mel_bins": 80, **fields}), SETTINGS)


def raw(sample_rate_hz: int = 16_000, channels: int = 1, sample_format: Any = audio_pb2.SAMPLE_FORMAT_S16LE) -> Any:
    return audio_pb2.RawPcm(sample_rate_hz=sample_rate_hz, channels=channels, sample_format=sample_format)


def test_unset_fields_take_the_services_own_limits() -> None:
    assert order() == Order(80, 30.0, 100.0)


def test_a_caller_may_ask_for_less_but_not_for_more() -> None:
    assert order(max_duration_seconds=10.0).max_duration_seconds == 10.0
    assert order(max_duration_seconds=1e9).max_duration_seconds == 100.0


def test_headerless_samples_are_described() -> None:
    described = order(raw_pcm=raw(8_000, 2, audio_pb2.SAMPLE_FORMAT_F32LE), single_window=True, max_window_seconds=5.0)
    assert described == Order(80, 5.0, 100.0, single_window=True, pcm=PcmFormat(8_000, 2, "f32le"))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"mel_bins": 0}, "config.mel_bins"),
        ({"mel_bins": 81}, "config.mel_bins"),
        ({"max_window_seconds": 30.01}, "config.max_window_seconds"),
        ({"max_window_seconds": 0.5}, "config.max_window_seconds"),
        ({"max_window_seconds": -1.0}, "config.max_window_seconds"),
        ({"max_window_seconds": float("nan")}, "config.max_window_seconds"),
        ({"max_duration_seconds": -1.0}, "config.max_duration_seconds"),
        ({"max_duration_seconds": float("nan")}, "config.max_duration_seconds"),
        ({"raw_pcm": raw(sample_rate_hz=0)}, "config.raw_pcm.sample_rate_hz"),
        ({"raw_pcm": raw(sample_rate_hz=384_001)}, "config.raw_pcm.sample_rate_hz"),
        ({"raw_pcm": raw(channels=0)}, "config.raw_pcm.channels"),
        ({"raw_pcm": raw(channels=9)}, "config.raw_pcm.channels"),
        ({"raw_pcm": raw(sample_format=audio_pb2.SAMPLE_FORMAT_UNSPECIFIED)}, "config.raw_pcm.sample_format"),
        ({"raw_pcm": raw(sample_format=77)}, "config.raw_pcm.sample_format"),
    ],
)
def test_a_field_out_of_range_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        order(**fields)
    assert [violation.field for violation in raised.value.violations] == [field]
