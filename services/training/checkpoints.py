"""Training state on disk: written aside and renamed, so the last good one is never harmed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

TRAINED_FILE = "trained.safetensors"
_OPTIMIZER_FILE = "optimizer.safetensors"
_STATE_FILE = "state.json"


class ResumeError(Exception):
    """A run cannot go on from the checkpoint that is there: another recipe, or weights of other shapes."""


@dataclass(frozen=True)
class Resumed:
    """What a checkpoint holds besides weights: the next step, and the optimizer's tensors by parameter name."""

    next_step: int
    optimizer: dict[str, Tensor]


def save_checkpoint(
    folder: Path, step: int, recipe: str, trained: dict[str, Tensor], optimizer: dict[str, Tensor]
) -> None:
    """Write ``folder/step-N`` whole, then drop the older ones.

    Args:
        step: the next step to take.
        recipe: text that a resumed run must have as well.
        trained: the parameters under training, by name.
        optimizer: its tensors, by name.
    """
    target = folder / f"step-{step:06d}"
    scratch = folder / f".writing-{step:06d}"
    scratch.mkdir(parents=True, exist_ok=True)
    save_file(_plain(trained), scratch / TRAINED_FILE)
    save_file(_plain(optimizer), scratch / _OPTIMIZER_FILE)
    (scratch / _STATE_FILE).write_text(json.dumps({"next_step": step, "recipe": recipe}))
    if not target.exists():
        scratch.rename(target)
    for older in sorted(folder.glob("step-*"))[:-1]:
        _remove(older)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run, if there is one."""
    found = sorted(folder.glob("step-*"))
    return found[-1] if found else None


def read_checkpoint(path: Path, recipe: str, parameters: dict[str, Tensor]) -> Resumed:
    """Copy a checkpoint's weights into the parameters.

    Raises:
        ResumeError: it was written by another recipe, or for a model of other shapes.
    """
    state: dict[str, Any] = json.loads((path / _STATE_FILE).read_text())
    if state["recipe"] != recipe:
        raise ResumeError(f"{path} was written by another recipe; use another folder, or the recipe it was begun with")
    copy_weights(load_file(path / TRAINED_FILE), parameters, str(path))
    return Resumed(state["next_step"], load_file(path / _OPTIMIZER_FILE))


def copy_weights(stored: dict[str, Tensor], parameters: dict[str, Tensor], origin: str) -> None:
    """Copy every stored tensor into the parameter of its name.

    Raises:
        ResumeError: naming what is missing on either side, or the first of another shape.
    """
    if stored.keys() != parameters.keys():
        odd = sorted(stored.keys() ^ parameters.keys())
        raise ResumeError(f"{origin} holds other parameters than the model: {', '.join(odd[:4])} ({len(odd)} in all)")
    for name, tensor in stored.items():
        if tensor.shape != parameters[name].shape:
            shapes = f"{tuple(tensor.shape)}, the model {tuple(parameters[name].shape)}"
            raise ResumeError(f"{origin} is of another width: {name} has {shapes}")
    with torch.no_grad():
        for name, tensor in stored.items():
            parameters[name].copy_(tensor)


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _remove(checkpoint: Path) -> None:
    for file in checkpoint.iterdir():
        file.unlink()
    checkpoint.rmdir()
