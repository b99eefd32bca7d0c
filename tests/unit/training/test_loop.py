"""The training loop stops in time and keeps what it has."""

import resource
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from services.training.checkpoints import ResumeError, latest_checkpoint, read_checkpoint, save_checkpoint
from services.training.loop import ParameterGroup, Schedule, Step, StepResult, TrainingError, train

pytestmark = pytest.mark.unit

SCHEDULE = Schedule(steps=6, warmup_steps=1, save_every_steps=2)


def groups_of(model: nn.Module) -> list[ParameterGroup]:
    return [ParameterGroup(dict(model.named_parameters()), 1e-2)]


def step_of(model: nn.Linear, broken_at: int = -1) -> Step:
    def step(number: int) -> StepResult:
        loss = model(torch.full((1, model.in_features), float(number))).square().mean()
        return StepResult(loss * float("nan") if number == broken_at else loss, {})

    return step


def test_a_loss_that_is_no_number_stops_before_it_does_harm(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    with pytest.raises(TrainingError, match="step 4 is nan"):
        train(step_of(model, broken_at=4), groups_of(model), SCHEDULE, tmp_path, "recipe")
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.name == "step-000004"


def test_another_recipe_does_not_go_on_with_the_run(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    train(step_of(model), groups_of(model), SCHEDULE, tmp_path, "recipe")
    with pytest.raises(ResumeError, match="another recipe"):
        train(step_of(model), groups_of(model), SCHEDULE, tmp_path, "other")


def test_another_width_does_not_go_on_with_the_run(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    train(step_of(model), groups_of(model), SCHEDULE, tmp_path, "recipe")
    wider = nn.Linear(4, 1)
    before = wider.weight.detach().clone()
    with pytest.raises(ResumeError, match=r"another width: weight has \(1, 3\), the model \(1, 4\)"):
        train(step_of(wider), groups_of(wider), SCHEDULE, tmp_path, "recipe")
    assert torch.equal(wider.weight, before)


def test_a_checkpoint_half_written_is_not_taken_for_one(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    train(step_of(model), groups_of(model), SCHEDULE, tmp_path, "recipe")
    half = tmp_path / ".writing-000008"
    half.mkdir()
    (half / "trained.safetensors").write_bytes(b"cut off")
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.name == "step-000006"


def test_rates_warm_up_and_fall() -> None:
    schedule = Schedule(steps=100, warmup_steps=10, save_every_steps=10)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[99] == pytest.approx(0.1, abs=1e-3)


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    weights = {"weight": torch.ones(4)}
    save_checkpoint(tmp_path, 1, "recipe", weights, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # as on a disk that is full after 10 kB
    try:
        with pytest.raises((OSError, SafetensorError), match="File too large"):
            save_checkpoint(tmp_path, 2, "recipe", {"weight": torch.ones(10_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    assert read_checkpoint(newest, "recipe", {"weight": torch.zeros(4)}).next_step == 1
