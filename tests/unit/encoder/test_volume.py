"""A model that nobody has."""

from pathlib import Path

import pytest

from services.encoder import volume
from services.encoder.ready import find_ready

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", ["house/nobody-has-it", "/models/not/there"])
def test_an_unknown_model_ends_the_job_with_a_sentence_and_leaves_nothing_that_looks_ready(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As on a cluster that does not reach the hub; there it is asked.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("sys.argv", ["volume", "fill", name, str(tmp_path)])
    assert volume.main() == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {name!r} is no directory, and the hub did not give it")
    assert find_ready(tmp_path, name) is None
