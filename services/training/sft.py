"""Stage 2, supervised fine-tuning: voice chat and audio analysis jointly, the language model learning through LoRA.

What is trained is what the recipe gives a rate. Nothing but the input tells the modes apart: audio alone is answered,
audio with an instruction is analyzed (paper, section 2.3). Text-only chat in the mixture keeps the decoder talking.
"""

from pathlib import Path

from torch.nn import functional

from services.training.loop import StepResult, train
from services.training.parallel import join_world
from services.training.recipe import Recipe
from services.training.setup import computing, set_up, trained_groups


def sft(recipe: Recipe, folder: Path) -> None:
    """Run or resume the stage; see ``loop.train`` for errors."""
    workshop = set_up(recipe, with_lora=True)
    model, collator, mixture = workshop.model, workshop.collator, workshop.mixture

    def step(number: int) -> StepResult:
        batch = collator.batch(mixture.batch(number), number, extra_questions=recipe.extra_questions)
        with computing(recipe.precision):
            predicted = model(batch)
        right = (predicted.logits.argmax(1) == predicted.labels).float().mean().item()
        return StepResult(
            functional.cross_entropy(predicted.logits.float(), predicted.labels), {"token_accuracy": right}
        )

    train(step, trained_groups(model, recipe), recipe.schedule, folder, recipe.digest, join_world())
