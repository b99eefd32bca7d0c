"""`auricle train` as a user types it: stages, the merged checkpoint that transformers loads, and errors."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration
from typer.testing import CliRunner

from auricle.cli._app import PLUGIN_GROUP, build_app
from services.evaluation.clip import read_clip
from services.evaluation.local_model import LocalModel, answer_locally, load_local_model
from services.evaluation.manifest import Example, read_manifest
from services.qwen2_audio.weights import Checkpoint
from services.training.export import restore
from services.training.recipe import read_recipe
from tests.checkpoints import make_official_checkpoint
from tests.unit.training.recording import write_recipe, write_tones

pytestmark = pytest.mark.unit

COMMAND = EntryPoint("training", "services.training.cli:register", PLUGIN_GROUP)
RATES = "[rates]\nencoder = 1e-3\nprojector = 3e-3\nlora = 1e-2\n"
SCHEDULE = "[schedule]\nsteps = 12\nwarmup_steps = 2\nsave_every_steps = 6"
ANSWER_TOKENS = 12


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(build_app([COMMAND]), ["train", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sharded base, tones, and a short run of SFT over both, exported as ``merged``."""
    root = tmp_path_factory.mktemp("trained")
    base = make_official_checkpoint(root / "base", mel_bins=80)
    write_recipe(root / "sft.toml", "sft", f'checkpoint = "{base}"', write_tones(root), RATES + SCHEDULE)
    trained = run("sft", "--recipe", root / "sft.toml", "--folder", root / "run")
    assert trained.exit_code == 0, trained.output
    exported = run("export", "--recipe", root / "sft.toml", "--folder", root / "run", "--out", root / "merged",
                   "--delta", root / "delta")  # fmt: skip
    assert exported.exit_code == 0, exported.output
    assert f"auricle encoder publish {root}/merged" in exported.output
    return root


def examples(folder: Path) -> list[Example]:
    return read_manifest(folder / "tones.jsonl", "train").examples


def test_a_run_leaves_weights_and_curves(folder: Path) -> None:
    assert {path.name for path in (folder / "run").iterdir()} == {"step-000012", "curve.csv", "curve.png"}
    assert {path.name for path in (folder / "delta").iterdir()} == {
        "audio.safetensors", "lora.safetensors", "manifest.json",
    }  # fmt: skip


def test_transformers_answers_with_the_merged_checkpoint_as_the_model_in_training_does(folder: Path) -> None:
    trained = restore(read_recipe(folder / "sft.toml"), folder / "run").eval()
    loaded = load_local_model(folder / "merged")
    unmerged = LocalModel(
        trained.encoder, trained.language_model, loaded.tokenizer, loaded.prompts, loaded.config, loaded.end_token_ids  # type: ignore[arg-type]
    )  # fmt: skip
    wanted = answer_locally(unmerged, examples(folder), max_answer_tokens=ANSWER_TOKENS)
    assert [reference_answer(folder / "merged", example) for example in examples(folder)] == wanted
    assert answer_locally(loaded, examples(folder), max_answer_tokens=ANSWER_TOKENS) == wanted
    untrained = answer_locally(load_local_model(folder / "base"), examples(folder), max_answer_tokens=ANSWER_TOKENS)
    assert wanted != untrained


def reference_answer(checkpoint: Path, example: Example) -> str:
    model = Qwen2AudioForConditionalGeneration.from_pretrained(checkpoint).eval()
    processor = AutoProcessor.from_pretrained(checkpoint)
    text = processor.apply_chat_template(example.messages[:-1], add_generation_prompt=True, tokenize=False)
    clip = read_clip(example.paths[0])
    inputs = processor(text=text, audio=[clip], sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        made = model.generate(**inputs, max_new_tokens=ANSWER_TOKENS, do_sample=False, repetition_penalty=1.0)
    answer = processor.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
    return str(answer).strip()


def test_the_merged_checkpoint_has_the_files_names_and_types_of_its_start(folder: Path) -> None:
    base, merged = folder / "base", folder / "merged"
    assert {path.name for path in merged.iterdir()} == {path.name for path in base.iterdir()}
    assert Checkpoint(merged).located().keys() == Checkpoint(base).located().keys()
    for shard in base.glob("*.safetensors"):
        before, after = load_file(shard), load_file(merged / shard.name)
        assert {n: (t.dtype, t.shape) for n, t in before.items()} == {n: (t.dtype, t.shape) for n, t in after.items()}
    index = json.loads((merged / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {path.name for path in base.glob("*.safetensors")}


def test_errors_are_one_line_and_harm_nothing(folder: Path, tmp_path: Path) -> None:
    recipe = folder / "sft.toml"
    edited = tmp_path / "edited.toml"
    edited.write_text(recipe.read_text().replace("steps = 12", "steps = 13"))
    cases: list[tuple[list[str | Path], str]] = [
        (["dpo", "--recipe", recipe, "--folder", tmp_path], "is a recipe for sft, not for dpo"),
        (["sft", "--recipe", tmp_path / "gone.toml", "--folder", tmp_path], "No such file or directory"),
        (["sft", "--recipe", edited, "--folder", folder / "run"], "was written by another recipe"),
        (["export", "--recipe", recipe, "--folder", tmp_path, "--out", tmp_path / "out"], "holds no checkpoint"),
        (["export", "--recipe", recipe, "--folder", folder / "run", "--out", folder / "merged"], "exists already"),
    ]
    for arguments, words in cases:
        result = run(*arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
        assert words in result.stderr
    assert (folder / "run" / "step-000012").is_dir()
    assert not (tmp_path / "out").exists()


def test_weights_of_another_width_are_not_merged(folder: Path, tmp_path: Path) -> None:
    other = make_official_checkpoint(tmp_path / "other", mel_bins=128)
    recipe = tmp_path / "other.toml"
    recipe.write_text((folder / "sft.toml").read_text().replace(str(folder / "base"), str(other)))
    result = run("export", "--recipe", recipe, "--folder", folder / "run", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "as trained" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"other", "other.toml"}
