"""What a run trained, merged into a checkpoint in the official layout, which transformers and the platform load.

The start checkpoint is read and written file by file, so that a model of many GB needs no more memory than its largest
file. Every tensor keeps its name, its file and its type; what is no weight is copied.
"""

import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from services.qwen2_audio.weights import Checkpoint
from services.training.checkpoints import TRAINED_FILE, latest_checkpoint
from services.training.recipe import Recipe

_LORA_A, _LORA_B = ".lora_A.weight", ".lora_B.weight"
_MINI_PARTS = "auricle.json"  # says what the start checkpoint is made of; the merged one is made of more


class ExportError(Exception):
    """The export cannot be made: no checkpoint, a target that exists, or numbers that the files cannot hold."""


def write_merged(recipe: Recipe, run: Path, out: Path) -> Path:
    """Write the start checkpoint with all that the newest checkpoint of a run changed, whole or not at all.

    Raises:
        ExportError: see there.
        CheckpointError: the start checkpoint cannot be read.
    """
    if out.exists():
        raise ExportError(f"{out} exists already")
    start = Checkpoint(Path(recipe.start.checkpoint).expanduser())
    trained = trained_tensors(recipe, run)
    located = start.located()
    if unknown := sorted(name for name in trained if _target(name) not in located):
        raise ExportError(f"{start.path} has no place for {', '.join(unknown[:4])} ({len(unknown)} in all)")
    files: dict[Path, dict[str, str]] = defaultdict(dict)
    for ours, (stored, file) in located.items():
        files[file][ours] = stored
    out.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed, so that a directory of that name is always whole.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".merging-") as scratch:
        made = Path(scratch) / out.name
        shutil.copytree(start.path, made, ignore=lambda _, names: [name for name in names if _is_weight(name)])
        for file, names in files.items():
            _write_file(file, names, trained, recipe.lora_alpha / recipe.lora_rank, made / file.name)
        made.rename(out)
    return out


def trained_tensors(recipe: Recipe, run: Path) -> dict[str, Tensor]:
    """All that differs from the start checkpoint: the recipe's own start weights, then those of the newest checkpoint.

    Raises:
        ExportError: the run has no checkpoint.
    """
    newest = latest_checkpoint(run)
    if newest is None:
        raise ExportError(f"{run} holds no checkpoint")
    tensors: dict[str, Tensor] = {}
    for name in filter(None, (recipe.start.audio, recipe.start.lora)):
        tensors |= load_file(Path(name).expanduser())
    # The aligner served the loss alone and is no part of the model.
    stored = load_file(newest / TRAINED_FILE)
    return tensors | {name: tensor for name, tensor in stored.items() if not name.startswith("aligner.")}


def _target(name: str) -> str:
    """The weight that a trained tensor replaces or adapts, as ``Checkpoint`` names it."""
    for suffix in (_LORA_A, _LORA_B):
        if name.endswith(suffix):
            return name.removesuffix(suffix).replace("language_model.", "model.", 1) + ".weight"
    return name


def _is_weight(name: str) -> bool:
    return name.endswith(".safetensors") or name == _MINI_PARTS


def _write_file(file: Path, names: dict[str, str], trained: dict[str, Tensor], scale: float, out: Path) -> None:
    adapted = {_target(name): name.removesuffix(_LORA_A) for name in trained if name.endswith(_LORA_A)}
    written: dict[str, Tensor] = {}
    with safe_open(file, framework="pt") as tensors:
        for ours, stored in names.items():
            tensor = tensors.get_tensor(stored)
            value = trained.get(ours, tensor).float()
            if module := adapted.get(ours):
                value = value + scale * trained[module + _LORA_B].float() @ trained[module + _LORA_A].float()
            if value.shape != tensor.shape:
                raise ExportError(f"{stored} is {tuple(tensor.shape)} in {file}, {tuple(value.shape)} as trained")
            written[stored] = value.to(tensor.dtype).contiguous()
            if not torch.isfinite(written[stored]).all():
                raise ExportError(f"{stored} is not finite as {tensor.dtype}")
    save_file(written, out, metadata={"format": "pt"})
    out.chmod(0o644)  # safetensors leaves it to the owner alone, unlike every other file here
