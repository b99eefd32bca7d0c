"""What the model is given: prompts as the platform builds them, labels on answers alone, frames with their words."""

import dataclasses
import random

import numpy as np
import pytest
import torch

from services.evaluation.manifest import Example, read_manifest
from services.qwen2_audio.config import audio_config
from services.training.alignment import (
    SILENCE,
    UNKNOWN,
    FrameAligner,
    alignment_loss,
    frame_targets,
    trait_token_ids,
    word_token_ids,
)
from services.training.collate import Collator
from services.training.hearing import Augmentation, hear
from services.training.model import IGNORED, LoadedModel, load_model
from services.training.pretrain import _timed_places
from services.training.questions import further_questions
from services.training.setup import computing
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


def test_another_tape_speed_moves_the_words(examples: list[Example]) -> None:
    plain = hear(examples[0].paths[0], 80, Augmentation(), random.Random(1))
    for seed in range(4):
        played = hear(examples[0].paths[0], 80, Augmentation(tape_speed=0.2), random.Random(seed))
        assert 0.8 <= played.speed <= 1.2
        assert played.mel.num_frames == pytest.approx(plain.mel.num_frames / played.speed, abs=1)
        ratio = loudest_bin(played.mel.features) / loudest_bin(plain.mel.features)
        assert ratio == pytest.approx(played.speed, abs=0.15), "pitch goes with speed"


def test_words_are_found_where_the_tape_speed_put_them(loaded: LoadedModel, examples: list[Example]) -> None:
    collator = collator_of(loaded)
    ids = sorted({token for word in word_token_ids(examples[0], loaded.tokenizer) for token in word})
    aligner = FrameAligner(loaded.model.token_embeddings(), ids)
    plain = hear(examples[0].paths[0], 80, Augmentation(), random.Random(1))
    played = dataclasses.replace(plain, speed=1.25, delay_seconds=0.3)
    [(_, _, end)] = _timed_places(examples[0], plain, aligner, collator)
    [(_, moved_start, moved_end)] = _timed_places(examples[0], played, aligner, collator)
    assert (moved_start, moved_end) == pytest.approx((0.3, end / 1.25 + 0.3))


def loudest_bin(features: np.ndarray) -> float:
    """Mel bins are evenly spaced below 1 kHz, where the tone is."""
    return float(features.mean(1).argmax()) + 1


def test_a_clip_is_asked_what_its_traits_answer(examples: list[Example]) -> None:
    clip = dataclasses.replace(
        examples[0], task="gender", traits={"gender": "man", "language": "English", "sound": "cow"}
    )
    asked = {ask(q): q.answer for n in range(60) for q in further_questions(clip, random.Random(n), 9)}
    assert {answer for question, answer in asked.items() if "language" in question} == {"English."}
    assert not any("man or" in question.lower() for question in asked), "its own question is asked already"
    about = {question: answer for question, answer in asked.items() if answer in ("Yes.", "No.")}
    assert {answer for question, answer in about.items() if " cow" in question} == {"Yes."}
    assert {answer for question, answer in about.items() if " cow" not in question} == {"No."}
    assert "Cow." in asked.values()


def test_a_clip_of_which_nothing_is_known_is_asked_nothing_more(examples: list[Example]) -> None:
    assert further_questions(examples[0], random.Random(1), 3) == []
    silent = dataclasses.replace(examples[0], traits={"gender": NOTHING})
    assert further_questions(silent, random.Random(1), 3) == []


def ask(example: Example) -> str:
    return str(example.messages[0]["content"][1]["text"])


def test_several_questions_about_a_clip_are_each_as_if_asked_alone(
    loaded: LoadedModel, examples: list[Example]
) -> None:
    collator = collator_of(loaded)
    known = [
        dataclasses.replace(examples[0], traits={"language": "English", "speakers": "one"}),
        dataclasses.replace(examples[5], traits={"language": "French"}),
        examples[9],
    ]
    batch = collator.batch(known, 0, extra_questions=2)
    assert batch.branches is not None
    together = loaded.model(batch)
    logits, labels = [], []
    for example in known:
        for question in [example, *further_questions(example, random.Random(f"more {example.id} 0"), 2)]:
            alone = loaded.model(collator.batch([question], 0))
            logits.append(alone.logits)
            labels.append(alone.labels)
    assert len(logits) == 3 + 2 + 1
    assert torch.equal(together.labels, torch.cat(labels))
    assert torch.allclose(together.logits, torch.cat(logits), atol=1e-3)


def test_bf16_is_close(loaded: LoadedModel, examples: list[Example]) -> None:
    batch = collator_of(loaded).batch(examples[:3], 0)
    exact = loaded.model(batch).logits
    with computing("bf16"):
        rounded = loaded.model(batch).logits
    assert rounded.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(exact, rounded.float()).min() > 0.99
