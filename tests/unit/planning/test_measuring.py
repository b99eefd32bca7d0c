"""Service times are found again in what they make answers look like."""

import numpy as np
import pytest

from auricle import Answer
from auricle._types import ServiceTiming, Usage
from services.planning.errors import PlanningError
from services.planning.fitting import fit
from services.planning.measuring import Heard, profile_of

pytestmark = pytest.mark.unit


def heard(seconds: float, tokens: int, encoder_ms: float, step_ms: float, start: float = 0.0) -> Heard:
    """A question to a platform whose calls take 3 ms, prompts 0.5 ms a token, with an encoder as told."""
    audio_tokens = round(25 * seconds)
    prompt = 30 + audio_tokens
    preprocess_ms, decoder_ms = 10 + 2 * seconds, 0.5 * prompt + 20 + (tokens - 1) * step_ms
    computed = {"preprocess": preprocess_ms, "encoder": encoder_ms, "decoder": decoder_ms}
    timings = tuple(ServiceTiming(name, ms + 3, ms) for name, ms in computed.items())
    wall = sum(timing.wall_ms for timing in timings) / 1000
    usage = Usage(seconds, seconds, audio_tokens, 0, prompt, tokens, 0.0, 0.0, timings)
    end = start + wall + 0.007
    texts = tuple(end - step_ms / 1000 * np.arange(tokens)[::-1])
    return Heard(Answer("", "length", "toy", (), usage), seconds, start, texts, end)


def test_the_times_that_were_put_in_are_found() -> None:
    alone = [heard(s, t, 8 + 4 * s, 22) for s in (1.0, 5.0, 15.0) for t in (1, 32)]
    # In a burst the first clip is encoded alone and the others together (never to the same bit as long); a step takes
    # 2 ms more for each answer.
    bursts = [
        [
            heard(s, 32, 8.0001 + 4 * s, 20 + 2 * n),
            *(heard(s, 32, 8 + 4 * s * (n - 1), 20 + 2 * n) for _ in range(n - 1)),
        ]
        for n in (2, 4, 8)
        for s in (2.0, 8.0)
    ]
    profile = profile_of("toy", alone, bursts)
    assert (profile.text_tokens, profile.tokens_per_second) == (30, pytest.approx(25, rel=0.01))
    assert profile.gateway_ms == pytest.approx(7, abs=0.1)
    assert (profile.preprocess.recording_ms, profile.preprocess.second_ms) == pytest.approx((10, 2), rel=0.01)
    assert profile.encoder.call_ms == pytest.approx(3, abs=0.01)
    assert profile.encoder.seconds(1, 5) == pytest.approx(0.028, rel=0.02)
    assert profile.encoder.seconds(8, 40) == pytest.approx(0.168, rel=0.02)
    assert profile.decoder.seconds(1, 0, 0) == pytest.approx(0.022, rel=0.02)
    assert profile.decoder.seconds(8, 0, 0) == pytest.approx(0.036, rel=0.02)
    assert profile.decoder.prompt_token_ms == pytest.approx(0.5, rel=0.02)
    assert profile.decoder.spread < 0.02


def test_no_part_takes_less_than_no_time() -> None:
    found = fit([(1, 1), (1, 2), (1, 3)], [10.0, 8.0, 7.0])
    assert min(found.coefficients) >= 0
    assert found.coefficients[1] == 0


def test_a_platform_that_tells_no_timings_cannot_be_measured() -> None:
    silent = Heard(Answer("", "stop", "toy", (), Usage(1, 1, 25, 0, 55, 4, 0, 0, ())), 1.0, 0.0, (0.1,), 0.1)
    with pytest.raises(PlanningError, match="time spent in preprocess"):
        profile_of("toy", [silent], [])
