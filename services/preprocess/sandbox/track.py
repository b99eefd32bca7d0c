"""A recording as the signal chain sees it: what it is, its sound in blocks, and where it was damaged."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.preprocess.domain import Damage

# Damage beyond this many places is not told one by one.
MAX_DAMAGES = 32
MAX_MESSAGE_CHARS = 200


@dataclass(frozen=True)
class Block:
    """Mono float32 samples of one stretch and their rate."""

    samples: NDArray[np.float32]
    rate_hz: int


@dataclass
class Track:
    """One recording being decoded. `blocks` yields it once, from start to end, and fills `damages` on the way."""

    container: str
    codec: str
    sample_rate_hz: int
    channels: int
    blocks: Iterator[Block] = field(default_factory=lambda: iter(()))
    damages: list[Damage] = field(default_factory=list)

    def note_damage(self, at_seconds: float, message: str) -> None:
        """Remember a place that was not heard; the same complaint at one place counts once."""
        text = " ".join(message.split())[:MAX_MESSAGE_CHARS]
        damage = Damage(round(at_seconds, 3), text)
        if len(self.damages) < MAX_DAMAGES and damage not in self.damages:
            self.damages.append(damage)
