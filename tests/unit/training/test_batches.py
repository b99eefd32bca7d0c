"""What the model is given: prompts as the platform builds them, labels on answers alone, frames with their words."""

import dataclasses
import random

import pytest
import torch

from services.evaluation.manifest import Example, read_manifest
from services.qwen2_audio.config import audio_config
from services.training.alignment import SILENCE, frame_targets
from services.training.collate import Collator
from services.training.hearing import Augmentation, hear
from services.training.model import IGNORED, LoadedModel, load_model
from tests.checkpoints import make_official_checkpoint
from tests.unit.training.recording import write_tones

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(make_official_checkpoint(tmp_path_factory.mktemp("base"), mel_bins=80, shards=1))


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    return read_manifest(write_tones(tmp_path_factory.mktemp("tones")), "train").examples


def collator_of(loaded: LoadedModel) -> Collator:
    bins = audio_config(loaded.config).num_mel_bins
    return Collator(bins, loaded.prompts, loaded.tokenizer, Augmentation())


def test_only_the_answer_is_learned(loaded: LoadedModel, examples: list[Example]) -> None:
    batch = collator_of(loaded).batch(examples[:4], 0)
    for row, example in enumerate(examples[:4]):
        learned = batch.labels[row][batch.labels[row] != IGNORED].tolist()
        assert loaded.tokenizer.decode(learned) == f"{example.answer}<|im_end|>"


def test_running_the_shared_beginning_once_changes_nothing(loaded: LoadedModel, examples: list[Example]) -> None:
    batch = collator_of(loaded).batch(examples[:5], 0)
    assert batch.shared > 10
    gradients = []
    for given in (batch, dataclasses.replace(batch, shared=0)):
        loaded.model.zero_grad()
        predicted = loaded.model(given)
        torch.nn.functional.cross_entropy(predicted.logits, predicted.labels).backward()
        gradients.append([p.grad.clone() for p in loaded.model.parameters() if p.grad is not None])
    for shared, plain in zip(*gradients, strict=True):
        assert torch.allclose(shared, plain, atol=1e-4)


def test_rows_do_not_see_each_other(loaded: LoadedModel, examples: list[Example]) -> None:
    collator = collator_of(loaded)
    together = loaded.model(collator.batch(examples[:3], 0))
    alone = loaded.model(collator.batch(examples[2:3], 0))
    assert torch.allclose(together.logits[together.rows == 2], alone.logits, atol=1e-3)


def test_frames_carry_their_words() -> None:
    targets = frame_targets([([7, 8], 0.08, 0.24), ([9], 0.30, 0.31)], frames=10)
    assert targets.tolist() == [SILENCE, SILENCE, 7, 7, 8, 8, SILENCE, SILENCE, 9, SILENCE]


def test_augmentation_is_drawn_by_chance_and_tells_the_delay(examples: list[Example]) -> None:
    how = Augmentation(quieter_db=12, noise_share=1.0, reverb_share=1.0, silence_seconds=0.5)
    first, again, other = (hear(examples[0].paths[0], 80, how, random.Random(seed)) for seed in (1, 1, 2))
    assert (first.mel.features == again.mel.features).all()
    assert first.delay_seconds != other.delay_seconds
    plain = hear(examples[0].paths[0], 80, Augmentation(), random.Random(1))
    assert plain.delay_seconds == 0
    assert first.mel.num_frames > plain.mel.num_frames
