"""A recipe run to its end, by whichever command."""

import os
from pathlib import Path

from services.training.curve import plot_curve
from services.training.dpo import dpo
from services.training.pretrain import pretrain
from services.training.recipe import RecipeError, read_recipe
from services.training.sft import sft

STAGES = {"pretrain": pretrain, "sft": sft, "dpo": dpo}


def run_recipe(recipe_file: Path, folder: Path, stage: str | None = None) -> None:
    """Train, or go on where the folder's newest checkpoint stands; plot the curve at the end.

    Args:
        stage: the only one that is run, if given.

    Raises:
        RecipeError: the recipe cannot be run, or is of another stage.
        ResumeError, TrainingError: see ``loop.train``.
    """
    recipe = read_recipe(recipe_file)
    if stage not in (None, recipe.stage):
        raise RecipeError(f"{recipe_file} is a recipe for {recipe.stage}, not for {stage}")
    STAGES[recipe.stage](recipe, folder)
    if int(os.environ.get("RANK", "0")) == 0:
        plot_curve(folder)
