"""The two checkpoints of the model tests, each beside transformers' own reading of it."""

import pytest
import torch

from services.qwen2_audio.mini import assemble
from tests.checkpoints import make_official_checkpoint
from tests.reference import Case, Reference

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """auricle-mini, freshly assembled."""
    path = assemble(tmp_path_factory.mktemp("models"))
    return Case(path, Reference(path))


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Random weights in the official layout: 128 mel bins, untied head, three shards, the hub's names."""
    path = make_official_checkpoint(tmp_path_factory.mktemp("official"))
    return Case(path, Reference(path))


@pytest.fixture(scope="session", params=["mini", "official"])
def case(request: pytest.FixtureRequest) -> Case:
    """Each checkpoint in turn."""
    return request.getfixturevalue(request.param)
