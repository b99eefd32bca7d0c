"""The choice of the next token.

Follows the order and meaning of transformers' logits processors: repetition penalty over prompt and answer
(placeholders of audio included), then temperature, top-k, top-p. Every request draws from its own generator, so a
seed gives the same answer alone and in any batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from services.common.generation import GenerationParams

# Below it the likeliest token has all the mass there is.
GREEDY_BELOW_TEMPERATURE = 1e-4


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        params: how.
        prompt_ids: the prompt, seen by the repetition penalty.
        device: where the logits are.
    """

    def __init__(self, params: GenerationParams, prompt_ids: Sequence[int], device: str = "cpu") -> None:
        self._params = params
        self._greedy = params.temperature < GREEDY_BELOW_TEMPERATURE
        self._seen: Tensor | None = None
        if params.repetition_penalty != 1:
            self._seen = torch.tensor(sorted(set(prompt_ids)), device=device)
        self._generator: torch.Generator | None = None
        if not self._greedy:
            self._generator = torch.Generator(device)
            if params.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(params.seed)

    @property
    def takes_likeliest(self) -> bool:
        """True when the token is simply the likeliest one, so that a whole batch can be chosen at once."""
        return self._greedy and self._seen is None

    def choose(self, logits: Tensor) -> int:
        """A token from logits `(vocabulary,)`, which are left as they are."""
        if self._seen is not None:
            logits = _penalized(logits, self._seen, self._params.repetition_penalty)
        token = int(logits.argmax()) if self._greedy else self._draw(logits)
        if self._seen is not None:
            # An id that is in it twice does no harm: it is written twice with the same value.
            self._seen = torch.cat((self._seen, self._seen.new_tensor([token])))
        return token

    def _draw(self, logits: Tensor) -> int:
        return int(torch.multinomial(distribution(logits, self._params), 1, generator=self._generator))


def distribution(logits: Tensor, params: GenerationParams) -> Tensor:
    """Weights `(vocabulary,)` to draw a token by, not normalized; zero where top-k or top-p leave a token out."""
    # Relative to the likeliest, so that no quotient overflows upwards.
    logits = (logits - logits.max()) / params.temperature
    if not params.top_k and params.top_p == 1:
        return logits.softmax(-1)
    kept, order = logits.topk(min(params.top_k or logits.numel(), logits.numel()))
    probabilities = kept.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    return torch.zeros_like(logits).scatter(0, order, probabilities.where(before < params.top_p, 0))


def sample(logits: Tensor, samplers: list[Sampler]) -> list[int | None]:
    """One token for each row of `(rows, vocabulary)` logits, float32; None for a row that is not finite."""
    best = logits.max(-1)
    rows = zip(best.values.isfinite().tolist(), best.indices.tolist(), samplers, logits, strict=True)
    return [_token(likeliest, sampler, row) if finite else None for finite, likeliest, sampler, row in rows]


def _token(likeliest: int, sampler: Sampler, row: Tensor) -> int:
    return likeliest if sampler.takes_likeliest else sampler.choose(row)


def _penalized(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    scores = logits[seen]
    return logits.index_copy(0, seen, torch.where(scores < 0, scores * penalty, scores / penalty))
