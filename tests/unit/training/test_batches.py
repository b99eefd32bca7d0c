"""What the model is given: prompts as the platform builds them, labels on answers alone, frames with their words."""

import dataclasses
import random

import pytest
import torch

from services.evaluation.manifest import Example, read_manifest
from services.qwen2_audio.config import audio_config
from services.training.alignment import SILENCE, UNKNOWN, alignment_loss, frame_targets, trait_token_ids
from services.training.collate import Collator
from services.training.hearing import Augmentation, hear
from services.training.model import IGNORED, LoadedModel, load_model
from services.training.traits import NOTHING, TRAIT_EMBEDDINGS
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


def test_the_first_frames_carry_what_is_true_of_the_clip() -> None:
    targets = frame_targets([([7], 0.04, 0.20)], frames=6, traits=[5, SILENCE, UNKNOWN])
    assert targets.tolist() == [5, SILENCE, 7, 7, 7, SILENCE]
    assert frame_targets([], frames=3, traits=[5]).tolist() == [5, UNKNOWN, UNKNOWN], "nothing is known of the rest"


def test_every_trait_has_its_place(loaded: LoadedModel, examples: list[Example]) -> None:
    def entries(**traits: str) -> list[list[int] | None]:
        return trait_token_ids(dataclasses.replace(examples[0], traits=traits), loaded.tokenizer)

    def ids(word: str) -> list[int]:
        return list(loaded.tokenizer(f" {word}", add_special_tokens=False)["input_ids"])

    assert entries() == [None] * TRAIT_EMBEDDINGS
    assert entries(sound=NOTHING, speakers="two")[:4] == [[], [], None, ids("two")[:1]]
    assert entries(mode="minor")[2] == entries(gender="minor")[2] == ids("minor")[:1]
    long = ids("vacuum cleaner")
    assert len(long) > 2
    assert entries(sound="vacuum cleaner")[:2] == [[long[0]], [long[1]]]


def test_frames_without_a_target_teach_nothing_and_traits_count_more() -> None:
    logits = torch.tensor([[0.0, 2.0], [0.0, 2.0], [3.0, 0.0]], requires_grad=True)
    targets, is_trait = torch.tensor([1, UNKNOWN, 1]), torch.tensor([True, False, False])
    loss, accuracies = alignment_loss(logits, targets, is_trait, trait_weight=3.0)
    each = torch.nn.functional.cross_entropy(logits, torch.tensor([1, 1, 1]), reduction="none")
    assert torch.isclose(loss, (3 * each[0] + each[2]) / 4)
    assert accuracies == {"frame_accuracy": 0.0, "trait_accuracy": 1.0}
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[1].abs().sum() == 0


def test_augmentation_is_drawn_by_chance_and_tells_the_delay(examples: list[Example]) -> None:
    how = Augmentation(quieter_db=12, noise_share=1.0, reverb_share=1.0, silence_seconds=0.5)
    first, again, other = (hear(examples[0].paths[0], 80, how, random.Random(seed)) for seed in (1, 1, 2))
    assert (first.mel.features == again.mel.features).all()
    assert first.delay_seconds != other.delay_seconds
    plain = hear(examples[0].paths[0], 80, Augmentation(), random.Random(1))
    assert plain.delay_seconds == 0
    assert first.mel.num_frames > plain.mel.num_frames
