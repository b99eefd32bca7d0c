"""What the commands take for granted about the chart and the volume."""

from pathlib import Path

import pytest

from services.encoder.ready import folder
from services.gateway.tracks import TRACK_KEY
from services.kube.compare import TRACK_METADATA
from services.kube.release import model_folder, with_variables

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("model", ["auricle-mini", "Qwen/Qwen2-Audio-7B-Instruct", "/models/mine", "/models/a/b/"])
def test_a_models_folder_is_where_the_volume_has_it(model: str) -> None:
    assert model_folder(model) == str(folder(Path("/models"), model))


def test_a_comparison_asks_for_tracks_as_the_gateway_has_them() -> None:
    assert TRACK_METADATA == TRACK_KEY


def test_variables_keep_their_places() -> None:
    template = {"spec": {"containers": [{"env": [{"name": name, "value": "1"} for name in "ABC"]}]}}
    made = with_variables(template, {"B": "2", "C": None, "D": "3"})
    pairs = [(entry["name"], entry["value"]) for entry in made["spec"]["containers"][0]["env"]]
    assert pairs == [("A", "1"), ("B", "2"), ("D", "3")]
    assert len(template["spec"]["containers"][0]["env"]) == 3
