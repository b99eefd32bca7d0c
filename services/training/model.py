"""The model under training: the audio half and the language model, joined as ``Qwen2AudioForConditionalGeneration``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedTokenizerBase, Qwen2AudioConfig, Qwen2ForCausalLM

from services.evaluation.local_model import load_local_model
from services.qwen2_audio.encoder import AudioEncoder
from services.qwen2_audio.prompt import PromptBuilder

IGNORED = -100
PADDING_BRANCH = -1
Decoder = Qwen2ForCausalLM | PeftModel


@dataclass(frozen=True)
class Batch:
    """Conversations of one step, padded at the end.

    Attributes:
        token_ids: ``(rows, length)``.
        attention_mask: ``(rows, length)``, 1 where there is a token.
        labels: ``(rows, length)``, the token itself where it is to be learned, ``IGNORED`` elsewhere.
        features, num_frames: of every clip, in the order of ``places``.
        places: per clip its row, first position and length.
        shared: number of leading tokens that are the same in every row, all of them text.
        branches: ``(rows, length)`` where rows hold several questions about one clip: 0 for what they share, then 1, 2
            and so on; ``PADDING_BRANCH`` for padding. A question sees what is shared and itself, as if it stood alone.
    """

    token_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    features: list[Tensor]
    num_frames: list[int]
    places: list[tuple[int, int, int]]
    shared: int = 0
    branches: Tensor | None = None


@dataclass(frozen=True)
class Predictions:
    """What was predicted where there was a label: ``logits`` (n, vocabulary), ``labels`` (n), ``rows`` (n)."""

    logits: Tensor
    labels: Tensor
    rows: Tensor


class AudioLanguageModel(nn.Module):
    """Audio encoder and language model; the embeddings of a clip take the places of its audio tokens."""

    language_model: Decoder

    def __init__(self, encoder: AudioEncoder, language_model: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.language_model = language_model

    def forward(self, batch: Batch) -> Predictions:
        """Predict the labeled tokens; the head runs for those alone, which saves a fifth of a small model's work."""
        body, head = _body_and_head(self.language_model)
        hidden = self._hidden(body, batch)
        labels = batch.labels[:, batch.shared + 1 :]
        wanted = labels != IGNORED
        return Predictions(head(hidden[:, :-1][wanted]), labels[wanted], wanted.nonzero()[:, 0])

    def _hidden(self, body: nn.Module, batch: Batch) -> Tensor:
        """States behind the shared beginning: ``(rows, length - shared, hidden)``.

        The beginning (the system turn, mostly) is run once for all rows; its keys and values pass gradients on.
        """
        inputs, shared = self.embed(batch), batch.shared
        cache = DynamicCache()
        if shared:
            body(inputs_embeds=inputs[:1, :shared], past_key_values=cache, use_cache=True)
            cache.batch_repeat_interleave(len(inputs))
        branches = batch.branches
        rest = body(
            inputs_embeds=inputs[:, shared:],
            attention_mask=batch.attention_mask if branches is None else branch_mask(branches)[:, :, shared:],
            position_ids=None if branches is None else branch_positions(branches)[:, shared:],
            past_key_values=cache if shared else None,
            use_cache=bool(shared),
        )
        return rest.last_hidden_state

    def token_embeddings(self) -> Tensor:
        """``(vocabulary, hidden)``."""
        weight = self.language_model.get_input_embeddings().weight
        if not isinstance(weight, Tensor):
            raise TypeError("the language model has no embedding matrix")
        return weight

    def embed(self, batch: Batch) -> Tensor:
        """``(rows, length, hidden)``: token embeddings, with the clips' embeddings in their places."""
        embedded = self.language_model.get_input_embeddings()(batch.token_ids)
        if not batch.features:
            return embedded
        rows = torch.cat([torch.full((length,), row) for row, _, length in batch.places])
        columns = torch.cat([torch.arange(start, start + length) for _, start, length in batch.places])
        heard = torch.cat(self.encoder(batch.features, batch.num_frames))
        return embedded.index_put((rows, columns), heard.to(embedded.dtype))


def branch_mask(branches: Tensor) -> Tensor:
    """Which position sees which, ``(rows, 1, length, length)``: earlier ones of the trunk and of its own branch."""
    same = branches[:, :, None] == branches[:, None, :]
    causal = torch.ones(branches.shape[1], branches.shape[1], dtype=torch.bool).tril()
    return ((same | (branches == 0)[:, None, :]) & causal)[:, None]


def branch_positions(branches: Tensor) -> Tensor:
    """Positions ``(rows, length)``: every branch goes on where the trunk ends."""
    return branch_mask(branches)[:, 0].sum(-1) - 1


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint ready for training: nothing is frozen yet."""

    model: AudioLanguageModel
    tokenizer: PreTrainedTokenizerBase
    prompts: PromptBuilder
    config: Qwen2AudioConfig


def load_model(checkpoint_dir: Path) -> LoadedModel:
    """Load an official-layout checkpoint in float32 on the CPU.

    Raises:
        CheckpointError: see ``services.qwen2_audio.weights``.
    """
    loaded = load_local_model(checkpoint_dir)
    model = AudioLanguageModel(loaded.encoder, loaded.language_model)
    return LoadedModel(model, loaded.tokenizer, loaded.prompts, loaded.config)


def _body_and_head(language_model: Decoder) -> tuple[nn.Module, nn.Module]:
    """Decoder layers and output head, whether or not peft has wrapped the model."""
    causal: Any = language_model.get_base_model() if isinstance(language_model, PeftModel) else language_model
    return causal.model, causal.lm_head
