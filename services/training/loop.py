"""The training loop, the same for every stage."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from services.training.checkpoints import latest_checkpoint, read_checkpoint, save_checkpoint
from services.training.curve import Curve
from services.training.parallel import ALONE, World

TOLD_EVERY_SECONDS = 10.0
log = logging.getLogger(__name__)
_ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


class TrainingError(Exception):
    """Training cannot go on: the loss is no number any more. The last checkpoint is whole."""


@dataclass(frozen=True)
class Schedule:
    """How long, how fast, and how often to save; rates warm up linearly and fall to a tenth along a cosine."""

    steps: int
    warmup_steps: int
    save_every_steps: int
    clip_norm: float = 1.0
    weight_decay: float = 0.0

    def rate(self, step: int) -> float:
        """Factor on the learning rates at a step."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, progress)))


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters by name, and their learning rate."""

    parameters: dict[str, Tensor]
    learning_rate: float


@dataclass(frozen=True)
class StepResult:
    """The loss of a step, to be differentiated, and what else belongs on the curve."""

    loss: Tensor
    metrics: dict[str, float]


Step = Callable[[int], StepResult]


def train(
    step_fn: Step, groups: list[ParameterGroup], schedule: Schedule, folder: Path, recipe: str, world: World = ALONE
) -> None:
    """Take all steps, from the newest checkpoint in the folder on.

    Args:
        step_fn: loss of a step; a function of the step number and the parameters alone.
        groups: what is trained.
        folder: of this run: checkpoints and ``curve.csv``.
        recipe: text that identifies the run; a checkpoint of another one is refused.
        world: the processes that share the run; ``step_fn`` is given batch numbers, and the first one writes.

    Raises:
        ResumeError: the folder's checkpoint does not fit.
        TrainingError: the loss became NaN or infinite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = {name: tensor for group in groups for name, tensor in group.parameters.items()}
    optimizer = torch.optim.AdamW(
        [{"params": list(g.parameters.values()), "lr": g.learning_rate} for g in groups],
        betas=(0.9, 0.98),
        weight_decay=schedule.weight_decay,
    )
    first = _resume(folder, recipe, named, optimizer)
    curve = Curve(folder)
    if world.rank == 0:
        curve.forget_from(first)
    told_at = -math.inf
    for step in range(first, schedule.steps):
        began = time.monotonic()
        for group, options in zip(groups, optimizer.param_groups, strict=True):
            options["lr"] = group.learning_rate * schedule.rate(step)
        result = step_fn(world.batch_number(step))
        loss = world.mean(result.loss.item())
        if not math.isfinite(loss):
            raise TrainingError(f"the loss of step {step} is {loss}; lower the learning rates and run again to resume")
        result.loss.backward()
        world.average_gradients(named.values())
        clip_grad_norm_(named.values(), schedule.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if world.rank > 0:
            continue
        curve.add({"step": step, "loss": loss, **result.metrics, "seconds": round(time.monotonic() - began, 3)})
        if time.monotonic() - told_at > TOLD_EVERY_SECONDS or step + 1 == schedule.steps:
            # `auricle k8s train` reads its progress from this line.
            log.info("step %d of %d, loss %.4f", step + 1, schedule.steps, loss)
            told_at = time.monotonic()
        if (step + 1) % schedule.save_every_steps == 0 or step + 1 == schedule.steps:
            save_checkpoint(folder, step + 1, recipe, named, _optimizer_tensors(named, optimizer))


def _resume(folder: Path, recipe: str, named: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> int:
    newest = latest_checkpoint(folder)
    if newest is None:
        return 0
    resumed = read_checkpoint(newest, recipe, named)
    for name, tensor in named.items():
        stored = {key: resumed.optimizer.get(f"{name}/{key}") for key in _ADAM_STATE}
        if all(value is not None for value in stored.values()):
            optimizer.state[tensor] = stored
    return resumed.next_step


def _optimizer_tensors(named: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": optimizer.state[tensor][key]
        for name, tensor in named.items()
        for key in _ADAM_STATE
        if key in optimizer.state[tensor]
    }
