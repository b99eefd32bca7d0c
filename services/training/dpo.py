"""Stage 3, direct preference optimization: the paper's loss on triples (input, better answer, worse answer).

``L = -E log sigmoid(beta (log P(better)/P_ref(better) - log P(worse)/P_ref(worse)))``, paper section 2.4. The reference
is the model as the stage began: the adapter it starts with, kept frozen beside the one that learns.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.training.loop import StepResult, train
from services.training.lora import lora_parameters
from services.training.model import AudioLanguageModel, Batch
from services.training.parallel import join_world
from services.training.recipe import Recipe, RecipeError
from services.training.setup import computing, set_up, trained_groups


def dpo(recipe: Recipe, folder: Path) -> None:
    """Run or resume the stage; see ``loop.train`` for errors.

    Raises:
        RecipeError: an example without a worse answer, or a rate for the audio half, which the reference shares.
    """
    if recipe.rates.encoder or recipe.rates.projector:
        raise RecipeError("dpo trains the adapter alone: the frozen reference shares tower and projector")
    workshop = set_up(recipe, with_lora=True)
    model, collator, mixture = workshop.model, workshop.collator, workshop.mixture
    if lacking := [example.id for example in mixture.examples() if not example.rejected]:
        raise RecipeError(f"{len(lacking)} examples have no rejected answer, the first is {lacking[0]}")
    groups = trained_groups(model, recipe)
    reference = [parameter.detach().clone() for parameter in lora_parameters(model.language_model).values()]

    def step(number: int) -> StepResult:
        examples = mixture.batch(number)
        better = collator.batch(examples, number)
        worse = collator.batch(examples, number, [example.rejected for example in examples])
        with torch.no_grad(), computing(recipe.precision), exchanged(model.language_model, reference):
            reference_margin = log_likelihood(model, better) - log_likelihood(model, worse)
        with computing(recipe.precision):
            margin = log_likelihood(model, better) - log_likelihood(model, worse) - reference_margin
        loss = -functional.logsigmoid(recipe.losses.beta * margin).mean()
        return StepResult(loss, {"margin": margin.mean().item(), "preferred": (margin > 0).float().mean().item()})

    train(step, groups, recipe.schedule, folder, recipe.digest, join_world())


def log_likelihood(model: AudioLanguageModel, batch: Batch) -> Tensor:
    """Log-probability of each row's answer: ``(rows,)``."""
    predicted = model(batch)
    token = -functional.cross_entropy(predicted.logits.float(), predicted.labels, reduction="none")
    return torch.zeros(len(batch.token_ids)).index_add(0, predicted.rows, token)


@contextmanager
def exchanged(language_model: nn.Module, values: list[Tensor]) -> Iterator[None]:
    """Within the context the adapter holds the given values; afterwards its own again."""
    parameters = list(lora_parameters(language_model).values())
    own = [parameter.data for parameter in parameters]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data = value
    try:
        yield
    finally:
        for parameter, value in zip(parameters, own, strict=True):
            parameter.data = value
