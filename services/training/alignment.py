"""Frame alignment: each audio embedding learns to be the embedding of the token spoken at that moment.

With the times of the words known, every 40 ms embedding has a target among the language model's own token embeddings:
a word's tokens share its time evenly, and silence has an embedding of its own, learned. Cross-entropy over those
targets moves the tower and the projector into the language model's space with no language model in the loop, at a tenth
of the cost of its loss. Sounds take part as words: a dog's bark is aligned to "dog".
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from services.evaluation.manifest import Example

SECONDS_PER_EMBEDDING = 0.04
SILENCE = 0  # position of silence among the targets
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


def frame_targets(words: Sequence[tuple[list[int], float, float]], frames: int) -> Tensor:
    """Per embedding the position of its target: ``(frames,)``.

    Args:
        words: per word the positions of its tokens, its start and its end in seconds.
        frames: number of embeddings.
    """
    targets = torch.full((frames,), SILENCE)
    for places, start_seconds, end_seconds in words:
        edges = torch.linspace(start_seconds, end_seconds, len(places) + 1) / SECONDS_PER_EMBEDDING
        bounds = edges.round().long().clamp(0, frames).tolist()
        for place, start, end in zip(places, bounds, bounds[1:], strict=False):
            targets[start : max(end, start + 1)] = place
    return targets


def word_token_ids(example: Example, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Tokens of each timed word, as they stand within a sentence (a space before all but the first)."""
    texts = [word if index == 0 else f" {word}" for index, (word, _, _) in enumerate(example.words)]
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def alignment_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, float]:
    """Cross-entropy over frames, and the share of non-silent frames whose target has the highest logit."""
    spoken = targets != SILENCE
    right = (logits.argmax(1) == targets)[spoken].float().mean().item() if spoken.any() else 0.0
    return functional.cross_entropy(logits, targets), right
