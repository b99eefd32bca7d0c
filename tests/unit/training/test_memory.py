"""The memory that training needs is counted from the config as the true model would have it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.training.cli import train_app
from services.training.lora import add_lora, lora_parameters
from services.training.memory import count, state_bytes
from services.training.model import load_model
from tests.checkpoints import make_official_checkpoint

pytestmark = pytest.mark.unit


def test_counts_are_those_of_the_model(tmp_path: Path) -> None:
    loaded = load_model(make_official_checkpoint(tmp_path, mel_bins=80, shards=1))
    model, counts = loaded.model, count(loaded.config, lora_rank=3)
    assert counts.total == sum(parameter.numel() for parameter in model.parameters())
    assert counts.projector == sum(p.numel() for p in model.encoder.multi_modal_projector.parameters())
    adapter = lora_parameters(add_lora(model.language_model, rank=3, alpha=6))
    assert counts.lora == sum(parameter.numel() for parameter in adapter.values())
    needed = state_bytes(counts)
    assert needed["sft: adapter alone"] == 4 * counts.total + 16 * counts.lora
    assert needed["dpo: adapter, and its copy as reference"] == needed["sft: adapter alone"] + 4 * counts.lora


def test_the_command_needs_no_weights(tmp_path: Path) -> None:
    checkpoint = make_official_checkpoint(tmp_path, mel_bins=80, shards=1)
    (checkpoint / "model.safetensors").unlink()
    result = CliRunner().invoke(train_app, ["memory", "--checkpoint", str(checkpoint)])
    assert result.exit_code == 0, result.output
    assert "sft: adapter alone" in result.stdout
