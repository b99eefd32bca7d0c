"""Recipes: TOML files that say everything about a run. ``services/training/recipes/`` holds auricle-mini's."""

import hashlib
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from services.training.hearing import Augmentation
from services.training.loop import Schedule

T = TypeVar("T")


class RecipeError(Exception):
    """A recipe that cannot be run, with the section and key that is wrong."""


@dataclass(frozen=True)
class Start:
    """Where the weights come from.

    Attributes:
        checkpoint: directory in the official layout.
        audio: file of an audio half to use instead of the checkpoint's; none if empty.
        lora: file of an adapter to go on with; a new one if empty.
    """

    checkpoint: str
    audio: str = ""
    lora: str = ""


@dataclass(frozen=True)
class Data:
    """One source of the mixture: a manifest, the tasks taken from it (all if empty), and its weight."""

    manifest: str
    weight: float
    tasks: tuple[str, ...] = ()
    split: str = "train"


@dataclass(frozen=True)
class Rates:
    """Learning rates; what has none is frozen."""

    encoder: float = 0.0
    projector: float = 0.0
    aligner: float = 0.0
    lora: float = 0.0


@dataclass(frozen=True)
class Losses:
    """Weights of the losses; ``beta`` is that of DPO.

    ``settle_steps`` are the first ones of an alignment, in which the aligner learns alone: it starts from nothing, and
    would pull a trained tower with it. ``trait_weight`` is that of a clip's first embeddings within the alignment.
    """

    alignment: float = 0.0
    trait_weight: float = 1.0
    settle_steps: int = 0
    language_model: float = 0.0
    beta: float = 0.1


@dataclass(frozen=True)
class Recipe:
    """A run: its stage, its data, its rates and its length.

    Attributes:
        precision: of matrix products; weights, gradients and sums stay in float32. ``bf16`` pays where the processor
            has instructions for it (AMX, AVX512-BF16).
        extra_questions: how many further questions SFT asks about a clip, of those that its traits answer.
        digest: tells one recipe from another.
    """

    stage: Literal["pretrain", "sft", "dpo"]
    seed: int
    batch_size: int
    threads: int
    start: Start
    data: tuple[Data, ...]
    rates: Rates
    losses: Losses
    schedule: Schedule
    augmentation: Augmentation
    lora_rank: int = 16
    lora_alpha: int = 32
    precision: Literal["fp32", "bf16"] = "fp32"
    extra_questions: int = 0
    digest: str = ""


def read_recipe(path: Path) -> Recipe:
    """Parse a recipe; paths in it may start with ``~`` and are otherwise relative to the working directory.

    Raises:
        RecipeError: no TOML, an unknown or missing key, or an unknown stage.
    """
    text = path.read_text()
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: {error}") from error
    table["data"] = tuple(_section(Data, item, "data") for item in table.get("data", []))
    for name, kind in (("start", Start), ("rates", Rates), ("losses", Losses)):
        table[name] = _section(kind, table.get(name, {}), name)
    table["schedule"] = _section(Schedule, table.get("schedule", {}), "schedule")
    table["augmentation"] = _section(Augmentation, table.get("augmentation", {}), "augmentation")
    table["digest"] = hashlib.sha256(text.encode()).hexdigest()
    recipe = _section(Recipe, table, "recipe")
    if recipe.stage not in ("pretrain", "sft", "dpo"):
        raise RecipeError(f"{path}: stage is {recipe.stage!r}, not pretrain, sft or dpo")
    if recipe.precision not in ("fp32", "bf16"):
        raise RecipeError(f"{path}: precision is {recipe.precision!r}, not fp32 or bf16")
    if not recipe.data:
        raise RecipeError(f"{path}: no [[data]]")
    return recipe


def _section(kind: type[T], table: dict[str, Any], name: str) -> T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := table.keys() - known:
        raise RecipeError(f"unknown in [{name}]: {', '.join(sorted(unknown))}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise RecipeError(f"[{name}]: {error}") from error
