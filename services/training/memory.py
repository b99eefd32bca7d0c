"""How much memory training takes, by formula from a checkpoint's config.

Weights are float32 (4 bytes). What is trained has a gradient (4 bytes) and two moments of Adam (8 bytes) beside it; DPO
keeps a copy of the adapter as reference. On top come the activations kept for the backward pass, which grow with the
tokens of a batch.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import Qwen2AudioConfig, Qwen2ForCausalLM

from services.qwen2_audio.config import audio_config, text_config
from services.qwen2_audio.encoder import AudioEncoder
from services.training.lora import LINEARS

_FLOAT = 4
_TRAINED = 3 * _FLOAT  # gradient and two moments


@dataclass(frozen=True)
class Counts:
    """Parameters of a model's parts; ``lora`` those of an adapter of some rank."""

    tower: int
    projector: int
    language_model: int
    lora: int

    @property
    def total(self) -> int:
        """Of the model without an adapter."""
        return self.tower + self.projector + self.language_model


def count(config: Qwen2AudioConfig, lora_rank: int) -> Counts:
    """Count a model's parameters without making it."""
    with torch.device("meta"):
        encoder, language_model = AudioEncoder(config), Qwen2ForCausalLM(text_config(config))
    linears = [m for name, m in language_model.named_modules() if name.endswith(LINEARS) and isinstance(m, nn.Linear)]
    return Counts(
        tower=_size(encoder.audio_tower),
        projector=_size(encoder.multi_modal_projector),
        language_model=_size(language_model),
        lora=sum(lora_rank * (linear.in_features + linear.out_features) for linear in linears),
    )


def state_bytes(counts: Counts) -> dict[str, int]:
    """Weights, gradients and optimizer of every choice a recipe has; activations are not among them."""
    weights, adapter = counts.total * _FLOAT, counts.lora * _FLOAT
    audio = counts.tower + counts.projector
    return {
        "pretrain: tower and projector": weights + audio * _TRAINED,
        "pretrain: projector alone": weights + counts.projector * _TRAINED,
        "sft: adapter, tower and projector": weights + adapter + (counts.lora + audio) * _TRAINED,
        "sft: adapter and projector": weights + adapter + (counts.lora + counts.projector) * _TRAINED,
        "sft: adapter alone": weights + adapter + counts.lora * _TRAINED,
        "dpo: adapter, and its copy as reference": weights + 2 * adapter + counts.lora * _TRAINED,
    }


def activation_bytes_per_token(config: Qwen2AudioConfig) -> int:
    """What the language model keeps per token for the backward pass, with LoRA on every linear layer.

    Per layer the inputs of both norms and of all linear layers, queries, keys and values, and both factors of the gated
    MLP; attention keeps no matrix of scores. Logits are kept for answer tokens alone and are not counted.
    """
    text = text_config(config)
    hidden, inner = text.hidden_size, text.intermediate_size
    keys = hidden * (text.num_key_value_heads or text.num_attention_heads) // text.num_attention_heads
    return _FLOAT * text.num_hidden_layers * (7 * hidden + 2 * keys + 4 * inner)


def activation_bytes_per_second(config: Qwen2AudioConfig) -> int:
    """What a trained tower keeps per second of audio (50 frames): nothing if it is frozen."""
    audio = audio_config(config)
    return _FLOAT * 50 * audio.encoder_layers * (8 * audio.d_model + 2 * audio.encoder_ffn_dim)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
