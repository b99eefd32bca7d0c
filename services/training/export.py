"""Export of auricle-mini's delta: what training changed, in half precision, and a manifest that names it.

    python -m services.training.export --recipe RECIPE --folder FOLDER --out FOLDER

Writes ``audio.safetensors`` (the whole audio half), ``lora.safetensors`` and ``manifest.json`` as
``services/qwen2_audio/mini`` reads them: copy the first two into its ``weights/`` and the third beside that folder.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from services.qwen2_audio.mini.manifest import MANIFEST_FILE
from services.training.checkpoints import ResumeError
from services.training.lora import lora_parameters
from services.training.merge import ExportError, trained_tensors
from services.training.model import AudioLanguageModel
from services.training.recipe import Recipe, read_recipe
from services.training.setup import set_up_model

MAX_BYTES = 40_000_000


def export(recipe: Recipe, run: Path, out: Path, description: str) -> dict[str, int]:
    """Write the delta of a run's newest checkpoint; returns bytes by file.

    Raises:
        ExportError: the run has no checkpoint, holds numbers that half precision cannot, or both files together pass
            ``MAX_BYTES``.
    """
    model = restore(recipe, run)
    out.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt"}
    adapter = {**metadata, "r": str(recipe.lora_rank), "alpha": str(recipe.lora_alpha)}
    save_file(_half(model.encoder.state_dict()), out / "audio.safetensors", metadata=metadata)
    save_file(_half(lora_parameters(model.language_model)), out / "lora.safetensors", metadata=adapter)
    sizes = {name: (out / name).stat().st_size for name in ("audio.safetensors", "lora.safetensors")}
    if sum(sizes.values()) > MAX_BYTES:
        raise ExportError(f"{sum(sizes.values())} bytes are more than the {MAX_BYTES} that ship")
    _write_manifest(out, description)
    return sizes


def restore(recipe: Recipe, run: Path) -> AudioLanguageModel:
    """The model as the newest checkpoint of a run left it.

    Raises:
        ExportError: the run has no checkpoint.
    """
    stored = trained_tensors(recipe, run)
    model = set_up_model(recipe, with_lora=True).model
    parameters = {**dict(model.encoder.named_parameters()), **lora_parameters(model.language_model)}
    if unknown := stored.keys() - parameters.keys():
        raise ResumeError(f"{run} holds parameters the model lacks: {', '.join(sorted(unknown)[:4])}")
    with torch.no_grad():
        for name, tensor in stored.items():
            parameters[name].copy_(tensor)
    return model


def _half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    half = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in tensors.items()}
    if broken := [name for name, tensor in half.items() if not torch.isfinite(tensor).all()]:
        raise ExportError(f"not finite in half precision: {', '.join(broken[:4])}")
    return half


def _write_manifest(out: Path, description: str) -> None:
    manifest = json.loads(MANIFEST_FILE.read_text())
    manifest["description"] = description
    for name in manifest["weights"]:
        with (out / name).open("rb") as stream:
            manifest["weights"][name] = hashlib.file_digest(stream, "sha256").hexdigest()
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--description", default="Trained by services/training; docs/model-card.md has its scores.")
    options = parser.parse_args()
    print(export(read_recipe(options.recipe), options.folder, options.out, options.description))
