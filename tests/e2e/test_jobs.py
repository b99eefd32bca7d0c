"""A long recording as a job, through the whole platform with auricle-mini."""

from pathlib import Path

import numpy as np
import pytest

from auricle import Client
from services.local.demo_job import RATE_HZ, recording
from tests.platform import RunningPlatform

pytestmark = pytest.mark.e2e

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """A minute and a half: speech, music, silence, each nearly half a minute long."""
    return recording(SAMPLES)[0][: 90 * RATE_HZ]


def test_a_timeline_tells_speech_from_silence(client: Client, sound: np.ndarray) -> None:
    job = client.jobs.create(sound, task="segment").wait(timeout_seconds=120)
    assert job.state == "succeeded", job.error
    segments = job.result().segments
    assert segments[0].start_seconds == 0
    assert segments[-1].end_seconds == pytest.approx(90, abs=0.01)
    assert [after.start_seconds for after in segments[1:]] == [before.end_seconds for before in segments[:-1]]

    def label_at(seconds: float) -> str:
        return next(s.label for s in segments if s.start_seconds <= seconds < s.end_seconds)

    assert label_at(10) == "speech"
    assert label_at(80) == "silence"
    assert label_at(45) != "silence"


def test_the_same_recording_again_takes_its_embeddings_from_the_cache(
    client: Client, platform: RunningPlatform, sound: np.ndarray
) -> None:
    first = client.jobs.create(sound[: 30 * RATE_HZ]).wait(timeout_seconds=120)
    assert first.state == "succeeded", first.error
    again = client.jobs.create(sound[: 30 * RATE_HZ], priority="interactive").wait(timeout_seconds=120)
    result = again.result("srt")
    assert result.cached_windows == again.progress.windows >= 1
    assert result.text == first.result().text != ""
    assert (result.file or "").startswith("1\n00:00:00,000 --> 00:00:")
    assert result.heard_seconds == pytest.approx(30, abs=0.01)
    answer = again.ask("Transcribe the speech.", max_output_tokens=20)
    assert answer.segments[0].text
