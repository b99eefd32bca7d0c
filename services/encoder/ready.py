"""The volume that a cluster keeps its models on: how it is laid out, and whether a model on it is whole.

    VOLUME/MODEL/checkpoint    link to the checkpoint, wherever it lies
    VOLUME/MODEL/triton        Triton's model repository
    VOLUME/MODEL/ready.json    written last: what lies above is whole

Models stand side by side, so that an old release goes on while the next one is made ready, and can be gone back to.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from services.encoder.repository import EncoderRepository

CHECKPOINT = "checkpoint"
REPOSITORY = "triton"
READY = "ready.json"
_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Ready:
    """A model that can be served.

    Attributes:
        model: its name, as the cluster's values give it.
        fingerprint: of its checkpoint.
        version: of the encoder in Triton's repository.
    """

    model: str
    fingerprint: str
    version: int


def folder(volume: Path, model: str) -> Path:
    """Where the volume keeps a model: its name, with -- for each slash."""
    return volume / model.strip("/").replace("/", "--")


def find_ready(volume: Path, model: str) -> Ready | None:
    """The model if it is whole and its encoder published by this release, which may stand beside another's."""
    home = folder(volume, model)
    try:
        noted = json.loads((home / READY).read_text())
        fingerprint = str(noted["fingerprint"])
        version = EncoderRepository(home / REPOSITORY).version_of(fingerprint)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    if version is None or noted["model"] != model or not (home / CHECKPOINT).is_dir():
        return None
    return Ready(model, fingerprint, version)


def wait_ready(volume: Path, model: str, timeout_seconds: float) -> Ready:
    """Wait for `fill`, which runs elsewhere.

    Raises:
        TimeoutError: it was not done in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while (ready := find_ready(volume, model)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{model} is not ready in {folder(volume, model)} after {timeout_seconds:g} s")
        time.sleep(_WAIT_SECONDS)
    return ready
