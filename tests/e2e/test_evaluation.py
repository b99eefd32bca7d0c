"""`auricle eval` against the served platform, beside the same checkpoint in process."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from auricle import Client
from auricle.cli._app import PLUGIN_GROUP, build_app
from services.evaluation.manifest import Example, assistant_turn, user_turn, write_manifest
from tests.platform import RunningPlatform

pytestmark = pytest.mark.e2e

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
COMMAND = EntryPoint("evaluation", "services.evaluation.cli:register", PLUGIN_GROUP)
TRANSCRIBE = "Transcribe the speech."
SENTENCE = "The children walked to the river in the morning."
TASKS = {
    "transcription": ("sentence.wav", TRANSCRIBE, SENTENCE),
    "spoken_question": ("question.flac", "", "The capital of France is Paris."),
}


def write_held_out(root: Path) -> Path:
    examples = []
    for task, (sample, prompt, answer) in TASKS.items():
        samples, rate_hz = soundfile.read(SAMPLES / sample, dtype="float32")
        soundfile.write(root / f"{task}.wav", samples, rate_hz)
        messages = [user_turn(prompt, 1), assistant_turn(answer)]
        examples.append(
            Example(task, task, "test", "Apache-2.0", "sample", [f"{task}.wav"], messages, choices=["paris"])
        )
    write_manifest(root / "held-out.jsonl", examples)
    return root / "held-out.jsonl"


def test_platform_and_checkpoint_are_scored_side_by_side(
    tmp_path: Path, platform: RunningPlatform, client: Client
) -> None:
    arguments = ["--manifest", write_held_out(tmp_path), "--target", platform.address]
    arguments += ["--checkpoint", platform.checkpoint, "--max-tokens", "24", "--out", tmp_path / "out"]
    result = CliRunner().invoke(build_app([COMMAND]), ["eval", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "out" / "scores.json").read_text())["results"]
    assert {(item["model"], item["task"]) for item in results} == {
        (model, task) for model in (f"auricle-mini at {platform.address}", str(platform.checkpoint)) for task in TASKS
    }
    asked = client.chat(
        [
            {"type": "audio", "audio": tmp_path / "transcription.wav"},
            {"type": "text", "text": "Transcribe the speech."},
        ],
        max_output_tokens=24,
    )
    heard = {item["examples"][0]["given"] for item in results if item["task"] == "transcription"}
    assert heard == {asked.text.strip()}, "the platform and the checkpoint hear the same"
    assert all(item["value"] < 1 for item in results if item["task"] == "transcription")
