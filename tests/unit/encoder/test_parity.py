"""The parity check finds what it is there to find."""

from pathlib import Path

import pytest
import torch

from services.encoder.parity import ParityReport, ParityRow, Reference, compare, max_difference, synthetic_clip
from services.qwen2_audio.weights import load_audio_encoder
from tests.checkpoints import make_official_checkpoint
from tests.reference import Reference as WholeModel

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_official_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def test_the_reference_without_its_text_half_is_the_whole_model(checkpoint: Path) -> None:
    clip = synthetic_clip(1.7)
    assert max_difference(Reference(checkpoint).embeddings(clip), WholeModel(checkpoint).embeddings(clip)) == 0.0


def test_an_equal_encoder_passes(checkpoint: Path) -> None:
    report = compare(load_audio_encoder(checkpoint), checkpoint, seconds=(0.1, 3.0))
    assert report.passed
    assert [row.seconds for row in report.rows] == [0.1, 3.0]


@pytest.mark.parametrize("name", ["audio_tower.conv1.weight", "audio_tower.layers.1.self_attn.k_proj.weight"])
def test_one_weight_that_is_slightly_off_fails(checkpoint: Path, name: str) -> None:
    encoder = load_audio_encoder(checkpoint)
    dict(encoder.named_parameters())[name].mul_(1.01)
    assert not compare(encoder, checkpoint, seconds=(0.5,)).passed


def test_another_checkpoints_encoder_fails(checkpoint: Path, tmp_path: Path) -> None:
    other = load_audio_encoder(make_official_checkpoint(tmp_path, seed=1))
    assert not compare(other, checkpoint, seconds=(0.5,)).passed


def test_differences_that_only_a_batch_shows_fail() -> None:
    assert not ParityReport((ParityRow(1.0, alone=0.0, batched=2e-4),)).passed


def test_nan_and_unlike_shapes_never_pass() -> None:
    numbers, nan = torch.zeros(2, 3), torch.full((2, 3), float("nan"))
    for difference in (max_difference(numbers, nan), max_difference(numbers, torch.zeros(3, 3))):
        assert not ParityReport((ParityRow(1.0, alone=difference, batched=0.0),)).passed
