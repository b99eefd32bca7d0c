"""Directories that are whole or not there."""

from pathlib import Path


def publish(made: Path, target: Path) -> None:
    """Rename a finished directory into its place, unless another process was first there with the same content."""
    try:
        made.rename(target)
    except OSError:
        if not target.is_dir():
            raise
