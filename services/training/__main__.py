"""Run a recipe: ``python -m services.training RECIPE --folder FOLDER``. A run that was stopped goes on where it was."""

import argparse
import logging
from pathlib import Path

from services.training.run import run_recipe


def main() -> None:
    """Parse and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="folder of checkpoints and curves")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run_recipe(options.recipe, options.folder)


if __name__ == "__main__":
    main()
