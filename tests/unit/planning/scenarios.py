"""A scenario for the tests of this folder, and service times that make round figures."""

from typing import Any

from services.planning.profile import DecoderTimes, EncoderTimes, PreprocessTimes, Profile
from services.planning.scenario import Scenario

PROFILE = Profile(
    model="toy",
    gateway_ms=10,
    text_tokens=40,
    preprocess=PreprocessTimes(recording_ms=20, call_ms=5),
    encoder=EncoderTimes(batch_ms=10, second_ms=2, call_ms=5),
    decoder=DecoderTimes(step_ms=20, sequence_ms=1, call_ms=5),
)
# Its decoder answers such a question in three seconds, so that few requests keep many busy.
SLOW = PROFILE.model_copy(update={"decoder": DecoderTimes(step_ms=2000, sequence_ms=20)})


def scenario(**changes: Any) -> Scenario:
    """Two requests a second for an hour."""
    content: dict[str, Any] = {
        "arrivals": {"per_second": 2.0},
        "clip_seconds": {"median": 5.0, "p95": 10.0, "most": 30.0},
        "answer_tokens": {"median": 20.0, "p95": 40.0, "most": 60.0},
        "objective": {"p95_seconds": 2.0},
        "prices": {"encoder": 1.0, "decoder": 2.0, "cpu": 0.1},
        "hours": 1.0,
    }
    return Scenario.model_validate({**content, **changes})
