"""Run a recipe: ``python -m services.training RECIPE --folder FOLDER``. A run that was stopped goes on where it was."""

import argparse
import logging
import os
from pathlib import Path

from services.training.curve import plot_curve
from services.training.dpo import dpo
from services.training.pretrain import pretrain
from services.training.recipe import read_recipe
from services.training.sft import sft


def main() -> None:
    """Parse, train, plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="folder of checkpoints and curves")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    recipe = read_recipe(options.recipe)
    {"pretrain": pretrain, "sft": sft, "dpo": dpo}[recipe.stage](recipe, options.folder)
    if int(os.environ.get("RANK", "0")) == 0:
        plot_curve(options.folder)


if __name__ == "__main__":
    main()
