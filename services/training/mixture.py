"""Which examples make up the batch of a step.

The batch is a function of the seed and the step alone, so a resumed run sees what an uninterrupted one would have seen,
and nothing about the data needs to be stored in a checkpoint.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from services.evaluation.manifest import Example

BUCKET_BATCHES = 8


@dataclass(frozen=True)
class Source:
    """Examples of one task and their share of the mixture, relative to the other sources."""

    examples: Sequence[Example]
    weight: float


class Mixture:
    """Batches drawn from several sources by weight, clips of like length together.

    Args:
        sources: each with at least one example.
        batch_size: examples per batch.
        seed: of all draws.

    Raises:
        ValueError: a source is empty, or no weight is positive.
    """

    def __init__(self, sources: Sequence[Source], batch_size: int, seed: int) -> None:
        if not sources or any(not source.examples for source in sources):
            raise ValueError("every source of a mixture needs examples")
        if not any(source.weight > 0 for source in sources):
            raise ValueError("a mixture needs a positive weight")
        self._sources = sources
        self._batch_size = batch_size
        self._seed = seed

    def examples(self) -> list[Example]:
        """All examples of all sources."""
        return [example for source in self._sources for example in source.examples]

    def batch(self, step: int) -> list[Example]:
        """The examples of a step; step numbers may be asked for in any order."""
        bucket, place = divmod(step, BUCKET_BATCHES)
        chance = random.Random(f"{self._seed} {bucket}")
        weights = [source.weight for source in self._sources]
        chosen = chance.choices(self._sources, weights, k=BUCKET_BATCHES * self._batch_size)
        examples = [chance.choice(source.examples) for source in chosen]
        examples.sort(key=lambda example: example.seconds)
        order = list(range(BUCKET_BATCHES))
        chance.shuffle(order)
        start = order[place] * self._batch_size
        return examples[start : start + self._batch_size]
