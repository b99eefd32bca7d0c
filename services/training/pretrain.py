"""Stage 1, pretraining: tower and projector learn, the language model is frozen.

Two losses, each with a weight in the recipe: the alignment of frames to the tokens heard (see ``alignment``), which
needs timed words and no language model in the loop, and the language model's loss on answers to natural-language
prompts, as in the paper (section 2.2).
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from services.evaluation.manifest import Example
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
from services.training.hearing import Heard
from services.training.loop import ParameterGroup, StepResult, train
from services.training.mixture import Mixture
from services.training.parallel import join_world
from services.training.recipe import Recipe
from services.training.setup import computing, set_up, trained_groups
from services.training.traits import TRAIT_EMBEDDINGS


def pretrain(recipe: Recipe, folder: Path) -> None:
    """Run or resume the stage; see ``loop.train`` for errors."""
    workshop = set_up(recipe, with_lora=False)
    model, collator, mixture = workshop.model, workshop.collator, workshop.mixture
    groups = trained_groups(model, recipe)
    losses = recipe.losses
    if losses.alignment:
        aligner = _make_aligner(mixture, collator, model.token_embeddings())
        groups.append(ParameterGroup(dict(aligner.named_parameters(prefix="aligner")), recipe.rates.aligner))

    def step(number: int) -> StepResult:
        examples = mixture.batch(number)
        total, metrics = torch.zeros(()), dict[str, float]()
        if losses.alignment:
            timed = [example for example in examples if example.words or example.traits]
            settled = number >= losses.settle_steps
            with computing(recipe.precision):
                aligned, metrics = _align(model.encoder, aligner, collator, timed, number, settled, losses.trait_weight)
            total = total + losses.alignment * aligned
        if losses.language_model:
            with computing(recipe.precision):
                predicted = model(collator.batch(examples, number))
            total = total + losses.language_model * functional.cross_entropy(predicted.logits, predicted.labels)
        return StepResult(total, metrics)

    train(step, groups, recipe.schedule, folder, recipe.digest, join_world())


def _make_aligner(mixture: Mixture, collator: Collator, embeddings: Tensor) -> FrameAligner:
    in_use: set[int] = set()
    for example in mixture.examples():
        in_use.update(*word_token_ids(example, collator.tokenizer))
        in_use.update(*(ids for ids in trait_token_ids(example, collator.tokenizer) if ids))
    return FrameAligner(embeddings, sorted(in_use))


def _align(
    encoder: torch.nn.Module,
    aligner: FrameAligner,
    collator: Collator,
    examples: list[Example],
    step: int,
    settled: bool,
    trait_weight: float,
) -> tuple[Tensor, dict[str, float]]:
    heard = [collator.hear(example, step)[0] for example in examples]
    features = [torch.from_numpy(clip.mel.features) for clip in heard]
    with torch.set_grad_enabled(settled):
        embeddings = encoder(features, [clip.mel.num_frames for clip in heard])
    targets = [
        frame_targets(
            _timed_places(example, clip, aligner, collator), len(embedded), _trait_places(example, aligner, collator)
        )
        for example, clip, embedded in zip(examples, heard, embeddings, strict=True)
    ]
    is_trait = torch.cat([torch.arange(len(embedded)) < TRAIT_EMBEDDINGS for embedded in embeddings])
    return alignment_loss(aligner(torch.cat(embeddings)), torch.cat(targets), is_trait, trait_weight)


def _timed_places(
    example: Example, clip: Heard, aligner: FrameAligner, collator: Collator
) -> list[tuple[list[int], float, float]]:
    ids = word_token_ids(example, collator.tokenizer)
    return [
        (aligner.places(word), start / clip.speed + clip.delay_seconds, end / clip.speed + clip.delay_seconds)
        for word, (_, start, end) in zip(ids, example.words, strict=True)
    ]


def _trait_places(example: Example, aligner: FrameAligner, collator: Collator) -> list[int]:
    entries = trait_token_ids(example, collator.tokenizer)
    return [UNKNOWN if ids is None else aligner.places(ids)[0] if ids else SILENCE for ids in entries]
