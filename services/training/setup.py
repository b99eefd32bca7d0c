"""From a recipe to the things a stage works with."""

import itertools
import logging
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from services.evaluation.manifest import read_manifest
from services.qwen2_audio.config import audio_config
from services.training.checkpoints import copy_weights
from services.training.collate import Collator
from services.training.loop import ParameterGroup
from services.training.lora import add_lora, load_lora, lora_parameters
from services.training.mixture import Mixture, Source
from services.training.model import AudioLanguageModel, LoadedModel, load_model
from services.training.recipe import Data, Recipe, RecipeError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workshop:
    """Model, data and collator of a run."""

    model: AudioLanguageModel
    loaded: LoadedModel
    mixture: Mixture
    collator: Collator


def set_up(recipe: Recipe, *, with_lora: bool) -> Workshop:
    """Load what a recipe names; everything is frozen except what ``trained_groups`` thaws.

    Raises:
        CheckpointError, ResumeError, RecipeError: the start weights or the data do not fit.
    """
    loaded = set_up_model(recipe, with_lora=with_lora)
    sources = [_source(data) for data in recipe.data]
    collator = Collator(
        mel_bins=audio_config(loaded.config).num_mel_bins,
        prompts=loaded.prompts,
        tokenizer=loaded.tokenizer,
        augmentation=recipe.augmentation,
    )
    return Workshop(loaded.model, loaded, Mixture(sources, recipe.batch_size, recipe.seed), collator)


def set_up_model(recipe: Recipe, *, with_lora: bool) -> LoadedModel:
    """The recipe's start weights, all frozen.

    Raises:
        CheckpointError, ResumeError: they do not fit together.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    loaded = load_model(Path(recipe.start.checkpoint).expanduser())
    model = loaded.model
    if recipe.start.audio:
        stored = {name: tensor.float() for name, tensor in load_file(Path(recipe.start.audio).expanduser()).items()}
        copy_weights(stored, dict(model.encoder.state_dict(keep_vars=True)), recipe.start.audio)
    if with_lora:
        model.language_model = add_lora(model.language_model, recipe.lora_rank, recipe.lora_alpha)
        if recipe.start.lora:
            load_lora(model.language_model, Path(recipe.start.lora).expanduser())
    model.requires_grad_(False)
    return loaded


def trained_groups(model: AudioLanguageModel, recipe: Recipe) -> list[ParameterGroup]:
    """The parameters a recipe gives a rate, thawed."""
    encoder = model.encoder
    groups = [
        ParameterGroup(_named("audio_tower", encoder.audio_tower), recipe.rates.encoder),
        ParameterGroup(_named("multi_modal_projector", encoder.multi_modal_projector), recipe.rates.projector),
    ]
    if recipe.rates.lora:
        groups.append(ParameterGroup(lora_parameters(model.language_model), recipe.rates.lora))
    chosen = [group for group in groups if group.learning_rate > 0]
    for parameter in itertools.chain.from_iterable(group.parameters.values() for group in chosen):
        parameter.requires_grad_(True)
    return chosen


def computing(precision: str) -> AbstractContextManager[None]:
    """Within it, matrix products of a forward pass have the recipe's precision."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def _named(prefix: str, module: torch.nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": parameter for name, parameter in module.named_parameters()}


def _source(data: Data) -> Source:
    path = Path(data.manifest).expanduser()
    manifest = read_manifest(path, data.split)
    if manifest.skipped:
        log.warning("%s: %d lines skipped: %s", path, manifest.skipped.total(), dict(manifest.skipped))
    examples = [example for example in manifest.examples if not data.tasks or example.task in data.tasks]
    log.info("%s: %s", path, dict(Counter(example.task for example in examples)))
    if not examples:
        raise RecipeError(f"{path}: no example of split {data.split}, tasks {list(data.tasks) or 'any'}")
    return Source(examples, data.weight)
