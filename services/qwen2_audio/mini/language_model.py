"""SmolLM2-135M-Instruct from its GGUF file, as the text half of a Qwen2-Audio checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, ReaderTensor
from gguf.quants import dequantize
from torch import Tensor
from transformers import Qwen2Config

_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OTHER_NAMES = {"token_embd.weight": "embed_tokens.weight", "output_norm.weight": "norm.weight"}


@dataclass(frozen=True)
class LanguageModel:
    """The decoder and its vocabulary; tensors are float32, named as below ``model.`` in ``Qwen2ForCausalLM``."""

    config: Qwen2Config
    tensors: dict[str, Tensor]
    tokens: list[str]
    special_tokens: list[str]
    merges: list[tuple[str, str]]


def read_language_model(file: Path) -> LanguageModel:
    """Dequantize the model and read its vocabulary."""
    reader = GGUFReader(file)
    tokens: list[str] = _field(reader, "tokenizer.ggml.tokens")
    kinds: list[int] = _field(reader, "tokenizer.ggml.token_type")
    control = 3  # GGUF's token type of special tokens
    config = _config(reader)
    return LanguageModel(
        config=config,
        tensors=_tensors(reader, config),
        tokens=tokens,
        special_tokens=[token for token, kind in zip(tokens, kinds, strict=True) if kind == control],
        merges=[_pair(merge) for merge in _field(reader, "tokenizer.ggml.merges")],
    )


def _field(reader: GGUFReader, name: str) -> Any:
    field = reader.get_field(name)
    if field is None:
        raise ValueError(f"the GGUF file has no field {name}")
    return field.contents()


def _pair(merge: str) -> tuple[str, str]:
    left, right = merge.split(" ")
    return left, right


def _config(reader: GGUFReader) -> Qwen2Config:
    def llama(name: str) -> Any:
        return _field(reader, f"llama.{name}")

    return Qwen2Config(
        vocab_size=llama("vocab_size"),
        hidden_size=llama("embedding_length"),
        intermediate_size=llama("feed_forward_length"),
        num_hidden_layers=llama("block_count"),
        num_attention_heads=llama("attention.head_count"),
        num_key_value_heads=llama("attention.head_count_kv"),
        max_position_embeddings=llama("context_length"),
        rms_norm_eps=llama("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": llama("rope.freq_base")},
        bos_token_id=_field(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=_field(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=_field(reader, "tokenizer.ggml.padding_token_id"),
    )


def _tensors(reader: GGUFReader, config: Qwen2Config) -> dict[str, Tensor]:
    head_width = config.hidden_size // config.num_attention_heads
    tensors = {}
    for stored in reader.tensors:
        values = _dequantized(stored)
        part = stored.name.split(".")[-2]
        if part in ("attn_q", "attn_k"):
            values = _unrotated(values, head_width)
        name = _name(stored.name)
        tensors[name] = values
        if part in ("attn_q", "attn_k", "attn_v"):  # Qwen2 adds biases there, SmolLM2 has none
            tensors[name.replace("weight", "bias")] = torch.zeros(len(values))
    return tensors


def _dequantized(stored: ReaderTensor) -> Tensor:
    values = dequantize(stored.data, stored.tensor_type)
    shape = [int(size) for size in reversed(stored.shape)]
    return torch.from_numpy(np.array(values, np.float32).reshape(shape))


def _unrotated(values: Tensor, head_width: int) -> Tensor:
    """GGUF interleaves the two halves of every head for its rotary embedding; Qwen2 keeps them apart."""
    return values.unflatten(0, (-1, head_width // 2, 2)).transpose(1, 2).flatten(0, 2)


def _name(stored: str) -> str:
    """``blk.3.attn_q.weight`` to ``layers.3.self_attn.q_proj.weight``."""
    if stored in _OTHER_NAMES:
        return _OTHER_NAMES[stored]
    _, layer, part, kind = stored.split(".")
    return f"layers.{layer}.{_LAYER_NAMES[part]}.{kind}"
