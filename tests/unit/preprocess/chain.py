"""The signal chain in the test's own process, without a sandbox."""

import tempfile
from collections.abc import Iterator

from services.preprocess.domain import Limits, Order, Refusal, Summary, Window
from services.preprocess.sandbox.pipeline import process
from services.preprocess.sandbox.refused import AudioRefused
from services.preprocess.sandbox.source import Source

LIMITS = Limits(
    cpu_seconds=60,
    memory_bytes=2**30,
    spool_bytes=2**24,
    spool_dir=None,
    max_channels=64,
    min_sample_rate_hz=1_000,
    max_sample_rate_hz=384_000,
)
ORDER = Order(mel_bins=80, max_window_seconds=30.0, max_duration_seconds=3600.0)


def chunks(data: bytes, size: int = 10_000) -> Iterator[bytes]:
    """Data as it would arrive."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def hear(
    data: bytes, order: Order = ORDER, limits: Limits = LIMITS, chunk_bytes: int = 10_000
) -> tuple[list[Window], Summary]:
    """All windows and the summary of a recording.

    Raises:
        AudioRefused: what the chain refuses.
    """
    with tempfile.TemporaryFile() as spool_file:
        *windows, summary = process(order, limits, Source(chunks(data, chunk_bytes)), spool_file)
    assert isinstance(summary, Summary)
    return [window for window in windows if isinstance(window, Window)], summary


def refusal(data: bytes, order: Order = ORDER, limits: Limits = LIMITS) -> Refusal:
    """Why the chain refuses a recording."""
    try:
        heard = hear(data, order, limits)
    except AudioRefused as refused:
        return refused.refusal
    raise AssertionError(f"heard instead of refused: {heard[1]}")
