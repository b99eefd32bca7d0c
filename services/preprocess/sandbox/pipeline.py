"""The whole chain for one recording: bytes, samples, 16 kHz mono, speech, windows, log-mel."""

import time
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from services.preprocess.domain import Limits, Order, Reason, Summary, Window, WindowFacts
from services.preprocess.sandbox import measure
from services.preprocess.sandbox.container import open_file
from services.preprocess.sandbox.pcm import open_pcm
from services.preprocess.sandbox.refused import AudioRefused
from services.preprocess.sandbox.resample import Resampler
from services.preprocess.sandbox.samples import check_samples
from services.preprocess.sandbox.segment import Segment, Segmenter
from services.preprocess.sandbox.silero import Silero
from services.preprocess.sandbox.source import Source
from services.preprocess.sandbox.track import Track
from services.qwen2_audio.mel import SAMPLE_RATE_HZ, audio_token_count, frame_count, log_mel


def process(order: Order, limits: Limits, source: Source, spool_file: BinaryIO) -> Iterator[Window | Summary]:
    """Windows as soon as they are complete, then the summary.

    Raises:
        AudioRefused: the recording cannot be heard as ordered.
    """
    started = time.process_time()
    track = open_pcm(source, order.pcm) if order.pcm else open_file(source, limits, spool_file)
    num_samples = 0
    for index, segment in enumerate(_segments(order, track)):
        num_samples += len(segment.samples)
        yield _window(order, index, segment)
    if not num_samples:
        raise _nothing_heard(track)
    yield Summary(
        num_samples=num_samples,
        container=track.container,
        codec=track.codec,
        sample_rate_hz=track.sample_rate_hz,
        channels=track.channels,
        damages=tuple(track.damages),
        compute_ms=(time.process_time() - started) * 1000,
    )


def _segments(order: Order, track: Track) -> Iterator[Segment]:
    segmenter = Segmenter(int(order.max_window_seconds * SAMPLE_RATE_HZ), Silero().probabilities)
    for samples in _at_16_khz(order, track):
        yield from segmenter.push(samples)
    yield from segmenter.finish()


def _at_16_khz(order: Order, track: Track) -> Iterator[NDArray[np.float32]]:
    """The recording at 16 kHz, counted: what is too long is refused before more of it is decoded."""
    resampler, count = Resampler(), 0
    for block in track.blocks:
        check_samples(block.samples, count / SAMPLE_RATE_HZ)
        samples = resampler.push(block.samples, block.rate_hz)
        count += len(samples)
        _check_length(order, count)
        yield samples
    rest = resampler.finish()
    _check_length(order, count + len(rest))
    yield rest


def _check_length(order: Order, num_samples: int) -> None:
    seconds = num_samples / SAMPLE_RATE_HZ
    if order.single_window and seconds > order.max_window_seconds:
        message = (
            f"the recording is longer than the {order.max_window_seconds:g} s that are heard at once here; "
            "submit it to the job API"
        )
        raise AudioRefused(Reason.AUDIO_TOO_LONG, message, limit_seconds=f"{order.max_window_seconds:g}")
    if seconds > order.max_duration_seconds:
        message = (
            f"the recording is longer than the {order.max_duration_seconds:g} s that this call takes; "
            "submit it to the job API or send it in parts"
        )
        raise AudioRefused(Reason.AUDIO_TOO_LONG, message, limit_seconds=f"{order.max_duration_seconds:g}")


def _window(order: Order, index: int, segment: Segment) -> Window:
    samples = segment.samples
    num_tokens = audio_token_count(frame_count(len(samples)))
    if num_tokens == 0:
        milliseconds = 1000 * len(samples) / SAMPLE_RATE_HZ
        message = f"{milliseconds:.1f} ms of sound are too short to be heard: they make no audio token"
        raise AudioRefused(Reason.AUDIO_TOO_SHORT, message, duration_ms=f"{milliseconds:.1f}")
    mel = log_mel(samples, order.mel_bins)
    mel_bins, stored_frames = mel.features.shape
    facts = WindowFacts(
        index=index,
        start_sample=segment.start_sample,
        num_samples=len(samples),
        content_sha256=measure.content_sha256(samples),
        speech_ratio=segment.speech_ratio,
        rms_dbfs=measure.rms_dbfs(samples),
        peak_dbfs=measure.peak_dbfs(samples),
        mel_bins=mel_bins,
        stored_frames=stored_frames,
        num_frames=mel.num_frames,
        num_tokens=num_tokens,
    )
    return Window(facts, np.ascontiguousarray(mel.features, "<f4").tobytes())


def _nothing_heard(track: Track) -> AudioRefused:
    if track.damages:
        message = f"nothing in this {track.container} file could be decoded: {track.damages[0].message}"
        return AudioRefused(Reason.AUDIO_MALFORMED, message, container=track.container)
    return AudioRefused(Reason.AUDIO_EMPTY, f"the {track.container} recording holds no samples")
