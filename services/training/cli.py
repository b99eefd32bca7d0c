"""``auricle train``: the three stages, and what becomes of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[Path, typer.Option(help="TOML file that says everything about the run.")]
Folder = Annotated[Path, typer.Option(help="Folder of the run's checkpoints and curves.")]

FAILURE = 1
train_app = typer.Typer(no_args_is_help=True, help="Train a model by recipes, and export it.")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(train_app, name="train")


@train_app.command()
def pretrain(recipe: Recipe, folder: Folder) -> None:
    """Stage 1: audio tower and projector learn, the language model is frozen. A stopped run goes on where it was."""
    _run("pretrain", recipe, folder)


@train_app.command()
def sft(recipe: Recipe, folder: Folder) -> None:
    """Stage 2: voice chat and audio analysis together, LoRA on the language model. A stopped run goes on."""
    _run("sft", recipe, folder)


@train_app.command()
def dpo(recipe: Recipe, folder: Folder) -> None:
    """Stage 3: better answers before worse ones. A stopped run goes on."""
    _run("dpo", recipe, folder)


@train_app.command()
def export(
    recipe: Recipe,
    folder: Folder,
    out: Annotated[Path, typer.Option(help="Directory to write the merged checkpoint to; must not exist.")],
    delta: Annotated[
        Path | None, typer.Option(help="Also write what training changed here, as auricle-mini ships it.")
    ] = None,
) -> None:
    """Merge a run's newest checkpoint into its start checkpoint, in the official layout."""
    with _told_plainly():
        from services.training.export import export as export_delta
        from services.training.merge import write_merged
        from services.training.recipe import read_recipe

        known = read_recipe(recipe)
        write_merged(known, folder, out)
        if delta:
            export_delta(known, folder, delta, "Trained by services/training; docs/model-card.md has its scores.")
    typer.echo(f"{out} is a checkpoint in the official layout. Serve all of it:\n    auricle up --model {out}")
    typer.echo(f"or publish its encoder alone to Triton's repository:\n    auricle encoder publish {out}")


@train_app.command()
def memory(
    checkpoint: Annotated[Path, typer.Option(help="Directory with the config.json of a Qwen2-Audio model.")],
    rank: Annotated[int, typer.Option(min=1, help="Rank of the LoRA adapter.")] = 16,
) -> None:
    """Print the memory that each choice of a recipe needs, by formula."""
    with _told_plainly():
        from services.qwen2_audio.config import read_config
        from services.training import memory as needed

        config = read_config(checkpoint)
        for choice, size in needed.state_bytes(needed.count(config, rank)).items():
            typer.echo(f"{choice:42}{size / 1e9:8.2f} GB")
    typer.echo("and for the activations, by its longest batch:")
    typer.echo(f"{'per 1,000 tokens of text and audio':42}{needed.activation_bytes_per_token(config) / 1e6:8.2f} GB")
    tower = 30 * needed.activation_bytes_per_second(config) / 1e9
    typer.echo(f"{'per 30 s of audio, if the tower is trained':42}{tower:8.2f} GB")


def _run(stage: str, recipe: Path, folder: Path) -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with _told_plainly():
        from services.training.run import run_recipe

        run_recipe(recipe, folder, stage)
    typer.echo(f"{folder} holds the trained weights, curve.csv and curve.png; merge them with: auricle train export")


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Errors that a user can do something about become one line and exit code 1; the last checkpoint stays whole."""
    try:
        # torch and transformers take seconds to import: no other command should wait for them.
        from safetensors import SafetensorError

        from services.qwen2_audio.config import CheckpointError
        from services.training.checkpoints import ResumeError
        from services.training.loop import TrainingError
        from services.training.merge import ExportError
        from services.training.recipe import RecipeError
    except ModuleNotFoundError as error:
        raise _fail(f"{error.name} is not installed: pip install -e '.[train]'") from None
    try:
        yield
    except (CheckpointError, ExportError, RecipeError, ResumeError, TrainingError, OSError, SafetensorError) as error:
        raise _fail(str(error)) from None


def _fail(sentence: str) -> typer.Exit:
    typer.echo(f"error: {sentence}", err=True)
    return typer.Exit(FAILURE)
