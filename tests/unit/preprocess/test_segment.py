"""Where recordings are cut, and that nothing is lost or changed by it."""

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from services.preprocess.sandbox.segment import Segment, Segmenter
from services.preprocess.sandbox.silero import CHUNK_SAMPLES
from services.qwen2_audio.mel import audio_token_count, frame_count
from tests.sounds import tone

pytestmark = pytest.mark.unit

RATE_HZ = 16_000
MAX_SAMPLES = 30 * RATE_HZ


def no_speech(chunks: NDArray) -> NDArray:
    return np.zeros(len(chunks))


def loud_is_speech(chunks: NDArray) -> NDArray:
    return (np.abs(chunks).max(axis=1) > 0.2).astype(float)


def segments(
    blocks: Iterable[NDArray], probabilities: Callable[[NDArray], NDArray] = no_speech, max_samples: int = MAX_SAMPLES
) -> list[Segment]:
    segmenter = Segmenter(max_samples, probabilities)
    found = [segment for block in blocks for segment in segmenter.push(block)]
    return found + list(segmenter.finish())


def noise(seconds: float, amplitude: float = 0.1) -> NDArray:
    return (amplitude * np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


@pytest.mark.parametrize("num_samples", [1, 511, 512, 513, 100_000, MAX_SAMPLES - 1, MAX_SAMPLES])
def test_what_fits_one_window_is_one_window_whole(num_samples: int) -> None:
    samples = noise(31)[:num_samples]
    (segment,) = segments([samples])
    np.testing.assert_array_equal(segment.samples, samples)


@pytest.mark.parametrize("num_samples", [MAX_SAMPLES + 1, MAX_SAMPLES + 24_000, 2 * MAX_SAMPLES, 5 * MAX_SAMPLES + 7])
def test_windows_follow_each_other_without_gap_or_overlap(num_samples: int) -> None:
    samples = noise(151)[:num_samples]
    found = segments([samples])
    np.testing.assert_array_equal(np.concatenate([segment.samples for segment in found]), samples)
    ends = np.cumsum([0, *(len(segment.samples) for segment in found)])
    assert [segment.start_sample for segment in found] == list(ends[:-1])
    assert max(len(segment.samples) for segment in found) <= MAX_SAMPLES


@pytest.mark.parametrize("max_seconds", [1.0, 2.5, 30.0])
def test_no_window_of_a_longer_recording_is_left_without_an_audio_token(max_seconds: float) -> None:
    max_samples = int(max_seconds * RATE_HZ)
    remainder = max_samples // 20
    for extra in (1, 2, 159, 320, 321, remainder - 1, remainder, remainder + 1):
        found = segments([noise(32)[: max_samples + extra]], max_samples=max_samples)
        assert len(found) == 2
        assert min(len(segment.samples) for segment in found) >= remainder
        assert min(audio_token_count(frame_count(len(segment.samples))) for segment in found) > 0


def test_the_cut_is_at_the_quietest_place_of_the_last_third() -> None:
    samples = noise(45)
    samples[10 * RATE_HZ : 11 * RATE_HZ] = 0.0  # quieter still, but before the last third
    samples[24 * RATE_HZ : 25 * RATE_HZ] *= 0.01
    first, _ = segments([samples])
    assert 24 <= len(first.samples) / RATE_HZ <= 25


def test_a_pause_in_speech_is_preferred_to_a_quieter_place_within_speech() -> None:
    samples = tone(45.0)
    # The quietest place, yet speech by its peaks, and a pause that is filled with a murmur.
    samples[22 * RATE_HZ : 23 * RATE_HZ] = 0.0
    samples[22 * RATE_HZ : 23 * RATE_HZ : CHUNK_SAMPLES // 2] = 0.25
    samples[27 * RATE_HZ : 28 * RATE_HZ] = tone(1.0, amplitude=0.19)
    first, _ = segments([samples], loud_is_speech)
    assert 27 <= len(first.samples) / RATE_HZ <= 28


def test_speech_without_a_pause_is_cut_at_its_quietest_place() -> None:
    samples = tone(45.0)
    samples[26 * RATE_HZ : 27 * RATE_HZ] *= 0.8
    first, _ = segments([samples], loud_is_speech)
    assert 26 <= len(first.samples) / RATE_HZ <= 27


def test_cuts_do_not_depend_on_how_the_samples_arrive() -> None:
    samples = noise(100)
    whole = segments([samples])
    for size in (160, 4_001, 500_000):
        parts = segments(samples[start : start + size] for start in range(0, len(samples), size))
        assert [len(segment.samples) for segment in parts] == [len(segment.samples) for segment in whole]


def test_a_window_is_given_before_the_recording_ends() -> None:
    segmenter = Segmenter(MAX_SAMPLES, no_speech)
    assert list(segmenter.push(noise(31.4))) == []
    assert len(list(segmenter.push(noise(0.2)))) == 1


def test_the_speech_ratio_counts_the_windows_own_chunks() -> None:
    samples = np.concatenate([tone(10.0), np.zeros(10 * RATE_HZ, np.float32), tone(20.0)])
    first, second = segments([samples], loud_is_speech)
    assert 19 <= len(first.samples) / RATE_HZ <= 20.1
    assert first.speech_ratio == pytest.approx(0.5, abs=0.02)
    assert second.speech_ratio > 0.97
