"""Frame alignment: each audio embedding learns to be the embedding of the token spoken at that moment.

With the times of the words known, every 40 ms embedding has a target among the language model's own token embeddings:
a word's tokens share its time evenly, and silence has an embedding of its own, learned. Cross-entropy over those
targets moves the tower and the projector into the language model's space with no language model in the loop, at a tenth
of the cost of its loss. Sounds take part as words: a dog's bark is aligned to "dog". What is true of a clip as a whole
is aligned to its first embeddings (see ``traits``).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from services.evaluation.manifest import Example
from services.training.traits import NOTHING, trait_words

SECONDS_PER_EMBEDDING = 0.04
SILENCE = 0  # position of silence among the targets
UNKNOWN = -100  # no target: not learned
FIRST_SCALE = 0.4


class FrameAligner(nn.Module):
    """Scores audio embeddings against the embeddings of the tokens in use, and silence.

    Args:
        token_embeddings: ``(vocabulary, hidden)``, not trained.
        token_ids: the tokens in use; softmax over those alone costs a tenth of the whole vocabulary's.
    """

    def __init__(self, token_embeddings: Tensor, token_ids: Sequence[int]) -> None:
        super().__init__()
        self.silence = nn.Parameter(torch.zeros(token_embeddings.shape[1]))
        self.log_scale = nn.Parameter(torch.tensor(FIRST_SCALE).log())
        self._targets = token_embeddings[list(token_ids)].detach().clone()
        self._place = {token_id: place for place, token_id in enumerate(token_ids, start=SILENCE + 1)}

    def forward(self, embeddings: Tensor) -> Tensor:
        """``(frames, hidden)`` to logits ``(frames, 1 + tokens in use)``."""
        targets = torch.cat([self.silence[None], self._targets])
        return embeddings @ targets.T * self.log_scale.exp()

    def places(self, token_ids: Sequence[int]) -> list[int]:
        """Positions of tokens among the logits."""
        return [self._place[token_id] for token_id in token_ids]


def frame_targets(words: Sequence[tuple[list[int], float, float]], frames: int, traits: Sequence[int] = ()) -> Tensor:
    """Per embedding the position of its target, ``UNKNOWN`` where it has none: ``(frames,)``.

    Args:
        words: per word the positions of its tokens, its start and its end in seconds; where there are none, nothing
            but the traits is known.
        frames: number of embeddings.
        traits: targets of the first embeddings; ``UNKNOWN`` leaves what is heard there.
    """
    targets = torch.full((frames,), SILENCE if words else UNKNOWN)
    for places, start_seconds, end_seconds in words:
        edges = torch.linspace(start_seconds, end_seconds, len(places) + 1) / SECONDS_PER_EMBEDDING
        bounds = edges.round().long().clamp(0, frames).tolist()
        for place, start, end in zip(places, bounds, bounds[1:], strict=False):
            targets[start : max(end, start + 1)] = place
    for frame, place in enumerate(traits[:frames]):
        if place != UNKNOWN:
            targets[frame] = place
    return targets


def word_token_ids(example: Example, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Tokens of each timed word, as they stand within a sentence (a space before all but the first)."""
    texts = [word if index == 0 else f" {word}" for index, (word, _, _) in enumerate(example.words)]
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def trait_token_ids(example: Example, tokenizer: PreTrainedTokenizerBase) -> list[list[int] | None]:
    """Entries for the first embeddings: one token each, none where there is nothing to hear, None if not known.

    A word of more tokens than its slot has embeddings loses its end, one of a single token is repeated.
    """
    entries: list[list[int] | None] = []
    for word, embeddings in trait_words(example.traits):
        if word is None:
            entries += [None] * embeddings
        elif word == NOTHING:
            entries += [[]] * embeddings
        else:
            ids = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
            entries += [[token_id] for token_id in (ids if len(ids) > 1 else ids * embeddings)[:embeddings]]
    return entries


def alignment_loss(
    logits: Tensor, targets: Tensor, is_trait: Tensor, trait_weight: float
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy over embeddings, and the shares of what is heard and of what is known that have the highest logit.

    Args:
        logits: ``(frames, places)``.
        targets: ``(frames,)``.
        is_trait: ``(frames,)``, true at the first embeddings of each clip.
        trait_weight: what one of those counts in the loss, where another embedding counts 1.

    Returns:
        The loss; ``frame_accuracy`` over words (not silence) and ``trait_accuracy`` over traits.
    """
    known = targets != UNKNOWN
    weights = known * (1.0 + (trait_weight - 1.0) * is_trait)
    losses = functional.cross_entropy(logits.float(), targets, ignore_index=UNKNOWN, reduction="none")
    right = logits.argmax(1) == targets
    chosen = {"frame_accuracy": known & ~is_trait & (targets != SILENCE), "trait_accuracy": known & is_trait}
    accuracies = {name: right[where].float().mean().item() if where.any() else 0.0 for name, where in chosen.items()}
    return (losses * weights).sum() / weights.sum().clamp(min=1.0), accuracies
