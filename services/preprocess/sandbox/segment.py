"""Cutting a recording of any length into windows, at places where nothing is lost.

A recording that fits one window is one window, whole. A longer one is cut in the last third of each window, at its
quietest place, in a pause between words where there is one. A cut never depends on how the samples arrived: it is made
when a full window and REMAINDER_FRACTION of a window more are there, or at the end, and never leaves less than that for
the next window.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.preprocess.sandbox.silero import CHUNK_SAMPLES

SPEECH_PROBABILITY = 0.5
SEARCH_FRACTION = 1 / 3
REMAINDER_FRACTION = 1 / 20
# Energy is smoothed over 7 chunks (224 ms), so that a pause is preferred to the closure of a single consonant.
SMOOTHING_CHUNKS = 7
# What the detector hears at once: enough to be cheap, little enough to stay in the processor's cache.
LISTEN_CHUNKS = 32


@dataclass(frozen=True)
class Segment:
    """A window's samples (float32, 16 kHz), where they begin in the recording, and how much of them is speech."""

    samples: NDArray[np.float32]
    start_sample: int
    speech_ratio: float


class Segmenter:
    """Takes 16 kHz samples as they come and gives segments of at most `max_samples`, without gap or overlap.

    Args:
        max_samples: longest segment.
        probabilities: of speech in each of the next chunks of the recording, given as (n, CHUNK_SAMPLES).
    """

    def __init__(self, max_samples: int, probabilities: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        self._max_samples = max_samples
        self._remainder_samples = int(max_samples * REMAINDER_FRACTION)
        self._probabilities = probabilities
        self._buffer = np.zeros(max_samples + self._remainder_samples + CHUNK_SAMPLES, np.float32)
        self._filled = 0
        self._start_sample = 0
        self._speech: list[bool] = []
        self._energy: list[float] = []

    def push(self, samples: NDArray[np.float32]) -> Iterator[Segment]:
        """Segments that are complete now."""
        capacity = self._max_samples + self._remainder_samples
        while len(samples):
            taken = min(len(samples), capacity - self._filled)
            self._buffer[self._filled : self._filled + taken] = samples[:taken]
            self._filled += taken
            samples = samples[taken:]
            # Whole groups only, so that the detector's rounding does not depend on how samples arrive either.
            self._listen(at_least=LISTEN_CHUNKS)
            if self._filled == capacity:
                yield self._cut(self._best_cut())

    def finish(self) -> Iterator[Segment]:
        """The last segments; the end of the recording."""
        if self._filled > self._max_samples:
            yield self._cut(self._best_cut())
        if self._filled:
            yield self._cut_last()

    def _listen(self, at_least: int = 1) -> None:
        """Hear the chunks that are complete; none while fewer than `at_least` wait."""
        complete = self._filled // CHUNK_SAMPLES
        while complete - len(self._speech) >= at_least:
            first = len(self._speech)
            self._hear(first, min(complete, first + LISTEN_CHUNKS))

    def _hear(self, first: int, last: int) -> None:
        chunks = self._buffer[first * CHUNK_SAMPLES : last * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)
        self._speech += (self._probabilities(chunks) >= SPEECH_PROBABILITY).tolist()
        self._energy += np.square(chunks, dtype=np.float64).sum(axis=1).tolist()

    def _best_cut(self) -> int:
        """The start of the quietest chunk that leaves a window full enough and a remainder long enough."""
        self._listen()
        latest = min(self._max_samples, self._filled - self._remainder_samples) // CHUNK_SAMPLES
        earliest = int(self._max_samples * (1 - SEARCH_FRACTION)) // CHUNK_SAMPLES
        kernel = np.ones(SMOOTHING_CHUNKS)
        loudness = np.convolve(self._energy, kernel, mode="same")[earliest : latest + 1]
        speech = np.array(self._speech[earliest : latest + 1])
        if not speech.all():
            loudness = np.where(speech, np.inf, loudness)
        # Of equally quiet places the latest: fewer, fuller windows.
        best = len(loudness) - 1 - int(np.argmin(loudness[::-1]))
        return (earliest + best) * CHUNK_SAMPLES

    def _cut_last(self) -> Segment:
        """All that is left; its last chunk is heard with silence behind it."""
        self._listen()
        complete = self._filled // CHUNK_SAMPLES
        if complete * CHUNK_SAMPLES < self._filled:
            self._buffer[self._filled : self._filled + CHUNK_SAMPLES] = 0.0
            self._hear(complete, complete + 1)
        return self._cut(self._filled)

    def _cut(self, end: int) -> Segment:
        chunks = -(-end // CHUNK_SAMPLES)
        speech_ratio = sum(self._speech[:chunks]) / chunks
        segment = Segment(self._buffer[:end].copy(), self._start_sample, speech_ratio)
        rest = self._filled - end
        self._buffer[:rest] = self._buffer[end : self._filled].copy()
        self._filled, self._start_sample = rest, self._start_sample + end
        del self._speech[:chunks], self._energy[:chunks]
        return segment
