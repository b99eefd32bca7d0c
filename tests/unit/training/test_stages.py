"""The three stages end to end on a random tiny model: each does its work, and the export of one starts the next."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.nn import functional

from services.qwen2_audio.weights import Checkpoint
from services.training.curve import read_curve
from services.training.dpo import dpo
from services.training.export import export
from services.training.loop import StepResult, train
from services.training.merge import ExportError
from services.training.pretrain import pretrain
from services.training.recipe import Recipe, RecipeError, read_recipe
from services.training.setup import set_up, trained_groups
from services.training.sft import sft
from services.training.smoke import Plan, StageReport, run_smoke
from tests.checkpoints import make_official_checkpoint
from tests.unit.training.recording import write_recipe, write_tones

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_official_checkpoint(tmp_path_factory.mktemp("base"), mel_bins=80, shards=1)


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"))


def recipe_of(folder: Path, stage: str, start: str, tones: Path, sections: str) -> Recipe:
    return write_recipe(folder / f"{stage}.toml", stage, start, tones, sections)


def losses_of(run: Path, metric: str = "loss") -> list[float]:
    return [row[metric] for row in read_curve(run / "curve.csv")]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_three_stages_follow_each_other(tmp_path: Path, base: Path) -> None:
    """The smoke test of `make train-smoke` in short, on a random tiny model with rates of its own."""
    plan = Plan(
        pretrain="[rates]\nencoder = 1e-3\nprojector = 1e-2\naligner = 1e-2\n"
        "[losses]\nalignment = 1.0\nlanguage_model = 0.2",
        pretrain_steps=24,
        sft="[rates]\nprojector = 3e-3\nlora = 1e-2",
        sft_steps=30,
        dpo="[rates]\nlora = 3e-3\n[losses]\nbeta = 0.1",
        dpo_steps=15,
        threads=1,
    )
    told: list[StageReport] = []
    reports = run_smoke(base, tmp_path, plan, told.append)
    assert [report.stage for report in told] == ["pretrain", "sft", "dpo"]
    assert [report.learned for report in reports] == [True] * 3, reports
    accuracies = losses_of(tmp_path / "pretrain", "frame_accuracy")
    assert mean(accuracies[-5:]) > mean(accuracies[:3]) + 0.1
    assert abs(losses_of(tmp_path / "dpo", "margin")[0]) < 1e-3, "model and reference begin as one"
    assert (tmp_path / "dpo" / "curve.png").stat().st_size > 1000
    assert Checkpoint(tmp_path / "merged").end_token_ids


def test_a_stage_that_did_not_learn_is_told() -> None:
    assert not StageReport("sft", "loss", 3.0, 2.0, 1.0).learned
    assert not StageReport("dpo", "margin", 0.0, 0.3, 1.0).learned
    assert "NOT LEARNED" in str(StageReport("dpo", "margin", 0.0, -1.0, 1.0))
    assert StageReport("sft", "loss", 3.0, 1.0, 1.0).learned


def test_a_tower_waits_until_its_aligner_has_settled(tmp_path: Path, base: Path, tones: Path) -> None:
    sections = (
        "[rates]\nencoder = 1e-3\nprojector = 1e-3\naligner = 1e-2\n[losses]\nalignment = 1.0\nsettle_steps = 2\n"
        "[schedule]\nsteps = 3\nwarmup_steps = 1\nsave_every_steps = 1"
    )
    recipe = recipe_of(tmp_path, "pretrain", f'checkpoint = "{base}"', tones, sections)
    start = set_up(recipe, with_lora=False).model.encoder.multi_modal_projector.linear.weight
    for steps, moved in ((2, False), (3, True)):
        run = tmp_path / f"run-{steps}"
        pretrain(replace(recipe, schedule=replace(recipe.schedule, steps=steps)), run)
        trained = load_file(run / f"step-{steps:06d}" / "trained.safetensors")
        assert bool((trained["multi_modal_projector.linear.weight"] != start).any()) == moved
        assert trained["aligner.silence"].any()


def test_dpo_refuses_to_train_what_its_reference_shares(tmp_path: Path, base: Path, tones: Path) -> None:
    recipe = recipe_of(
        tmp_path, "dpo", f'checkpoint = "{base}"', tones,
        "[rates]\nlora = 3e-3\nprojector = 1e-3\n[schedule]\nsteps = 1\nwarmup_steps = 1\nsave_every_steps = 1",
    )  # fmt: skip
    with pytest.raises(RecipeError, match="shares tower and projector"):
        dpo(recipe, tmp_path / "run")


def test_a_run_interrupted_and_resumed_is_the_same_run(tmp_path: Path, base: Path, tones: Path) -> None:
    sections = "[rates]\nencoder = 1e-3\nlora = 1e-3\n[schedule]\nsteps = 6\nwarmup_steps = 2\nsave_every_steps = 3"
    recipe = recipe_of(tmp_path, "sft", f'checkpoint = "{base}"', tones, sections)
    sft(recipe, tmp_path / "whole")

    workshop = set_up(recipe, with_lora=True)

    def dies_at_four(number: int) -> StepResult:
        if number == 4:
            raise KeyboardInterrupt
        predicted = workshop.model(workshop.collator.batch(workshop.mixture.batch(number), number))
        return StepResult(functional.cross_entropy(predicted.logits, predicted.labels), {"token_accuracy": 0.0})

    with pytest.raises(KeyboardInterrupt):
        train(dies_at_four, trained_groups(workshop.model, recipe), recipe.schedule, tmp_path / "parts", recipe.digest)
    sft(recipe, tmp_path / "parts")
    assert losses_of(tmp_path / "parts") == losses_of(tmp_path / "whole")
    assert [row["step"] for row in read_curve(tmp_path / "parts" / "curve.csv")] == [0, 1, 2, 3, 4, 5]


def test_two_processes_share_a_run(tmp_path: Path, base: Path, tones: Path) -> None:
    sections = "[rates]\nprojector = 1e-3\nlora = 1e-3\n[schedule]\nsteps = 3\nwarmup_steps = 1\nsave_every_steps = 3"
    recipe = recipe_of(tmp_path, "sft", f'checkpoint = "{base}"', tones, sections)
    launcher = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
                "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]  # fmt: skip
    command = [sys.executable, "-m", *launcher, "-m", "services.training", str(tmp_path / "sft.toml")]
    command += ["--folder", str(tmp_path / "run")]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=200)
    losses = losses_of(tmp_path / "run")
    assert len(losses) == 3
    workshop = set_up(recipe, with_lora=True)
    batches = [workshop.model(workshop.collator.batch(workshop.mixture.batch(n), n)) for n in range(2)]
    both = [functional.cross_entropy(predicted.logits, predicted.labels).item() for predicted in batches]
    assert losses[0] == pytest.approx(mean(both), rel=1e-3), "each process takes a batch of its own"
    assert (tmp_path / "run" / "step-000003" / "trained.safetensors").exists()


def test_export_is_half_precision_and_refuses_an_empty_run(tmp_path: Path, base: Path, tones: Path) -> None:
    sections = "[rates]\nprojector = 1e-3\nlora = 1e-3\n[schedule]\nsteps = 1\nwarmup_steps = 1\nsave_every_steps = 1"
    recipe = recipe_of(tmp_path, "sft", f'checkpoint = "{base}"', tones, sections)
    with pytest.raises(ExportError, match="no checkpoint"):
        export(recipe, tmp_path / "run", tmp_path / "out", "tiny")
    sft(recipe, tmp_path / "run")
    export(recipe, tmp_path / "run", tmp_path / "out", "tiny")
    lora = load_file(tmp_path / "out" / "lora.safetensors")
    assert {str(tensor.dtype) for tensor in lora.values()} == {"torch.float16"}
    assert "language_model.layers.0.self_attn.q_proj.lora_A.weight" in lora


def test_shipped_recipes_are_readable() -> None:
    recipes = sorted((ROOT / "services" / "training" / "recipes").glob("*.toml"))
    assert {read_recipe(path).stage for path in recipes} == {"pretrain", "sft", "dpo"}
