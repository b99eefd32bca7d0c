"""`auricle eval` as a user types it: in process on a random checkpoint, and its errors."""

import json
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from auricle.cli._app import PLUGIN_GROUP, build_app
from tests.checkpoints import make_official_checkpoint
from tests.unit.evaluation.examples import write_examples

pytestmark = pytest.mark.unit

COMMAND = EntryPoint("evaluation", "services.evaluation.cli:register", PLUGIN_GROUP)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(build_app([COMMAND]), ["eval", *map(str, arguments)])


def test_a_checkpoint_is_scored_into_a_table_json_and_plots(tmp_path: Path) -> None:
    checkpoint = make_official_checkpoint(tmp_path / "model", mel_bins=80, shards=1)
    manifest = write_examples(tmp_path, {"sound": "Dog.", "transcription": "Hello.", "absent_sound": "No."})
    result = run("--manifest", manifest, "--checkpoint", checkpoint, "--out", "out", "--max-tokens", "8")
    assert result.exit_code == 0, result.output
    assert "sound test" in result.stdout
    assert "1 unparsable" in result.stdout
    scores = {item["task"]: item for item in json.loads(Path("out/scores.json").read_text())["results"]}
    assert set(scores) == {"sound", "transcription", "absent_sound"}
    assert (scores["sound"]["value"], scores["sound"]["unparsable"], scores["sound"]["chance"]) == (0.0, 1, 0.25)
    (example,) = scores["transcription"]["examples"]
    assert example["wanted"] == "Hello."
    assert example["given"]
    assert {path.name for path in Path("out").glob("*.png")} == {"accuracy.png", "wer.png", "false_yes.png"}
    assert all(path.stat().st_size > 3000 for path in Path("out").glob("*.png"))


def test_errors_are_one_line(tmp_path: Path) -> None:
    manifest = write_examples(tmp_path, {"sound": "Dog."})
    cases: list[tuple[Sequence[str | Path], int, str]] = [
        (["smell", "--manifest", manifest], 2, "error: unknown task smell; known are"),
        (["--manifest", "gone.jsonl"], 2, "error: cannot read manifest gone.jsonl: No such file or directory"),
        (["--manifest", manifest, "--target", "127.0.0.1:1"], 1, "error: cannot reach 127.0.0.1:1"),
        (["--manifest", manifest, "--checkpoint", "nowhere"], 1, "error: cannot read nowhere"),
    ]
    for arguments, code, words in cases:
        result = run(*arguments)
        assert result.exit_code == code, result.output
        assert words in result.stderr
        assert "Traceback" not in result.output
        assert not Path("eval-results/scores.json").exists()
