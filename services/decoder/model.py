"""The language model of Qwen2-Audio, as plain tensors over packed tokens.

Computes what `Qwen2ForCausalLM` of transformers computes. The tokens of all sequences of a step stand in one matrix:
linear layers run over all of them at once, attention runs within each sequence over its own keys and values, and the
head runs only for the rows whose next token is wanted. Runs on the CPU in fp32; other dtypes follow the same code,
and CUDA is untried.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen2Config

from services.decoder.kv_cache import BlockTable, KVCache
from services.decoder.linear import Linear, Weights, linear
from services.qwen2_audio.config import head_width


@dataclass(frozen=True)
class Span:
    """The rows of one sequence in a step, and where its keys and values lie.

    Attributes:
        rows: tokens of this sequence in the step.
        past: tokens of the sequence that are in the cache already.
        table: the sequence's blocks in the cache, enough for past and rows.
    """

    rows: int
    past: int
    table: BlockTable

    @property
    def end(self) -> int:
        """Tokens in the cache after the step."""
        return self.past + self.rows


@dataclass(frozen=True)
class _Layer:
    input_norm: Tensor
    qkv: Linear
    out: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear

    @classmethod
    def take(cls, take: Callable[[str], Tensor], prefix: str, weights: Weights) -> "_Layer":
        def fused(*names: str) -> Tensor:
            return torch.cat([take(prefix + name) for name in names])

        qkv, bias = (fused(*(f"self_attn.{name}_proj.{kind}" for name in "qkv")) for kind in ("weight", "bias"))
        return cls(
            input_norm=take(f"{prefix}input_layernorm.weight"),
            qkv=linear(qkv, bias, weights=weights),
            out=linear(take(f"{prefix}self_attn.o_proj.weight"), weights=weights),
            mlp_norm=take(f"{prefix}post_attention_layernorm.weight"),
            gate_up=linear(fused("mlp.gate_proj.weight", "mlp.up_proj.weight"), weights=weights),
            down=linear(take(f"{prefix}mlp.down_proj.weight"), weights=weights),
        )


class Qwen2Model:
    """Weights and forward pass.

    Args:
        config: the text part of the checkpoint's config.
        weights: tensors named as in `Qwen2ForCausalLM`; emptied while they are read, so that none is held twice.
        context_tokens: longest sequence.
        dtype: to compute in.
        device: to compute on.
        precision: of the matrices.

    Raises:
        ValueError: the config asks for something that this forward pass has not, or dtype and device do not go with
            the precision.
    """

    def __init__(
        self,
        config: Qwen2Config,
        weights: dict[str, Tensor],
        context_tokens: int,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        precision: Weights = Weights.FULL,
    ) -> None:
        _check(config)

        def take(name: str) -> Tensor:
            return weights.pop(name).to(device, dtype)

        self.config = config
        self.device = device
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads or config.num_attention_heads
        self.head_width = head_width(config)
        self._embedding = take("model.embed_tokens.weight")
        self._head = linear(take("lm_head.weight"), weights=precision)
        self._norm = take("model.norm.weight")
        layers = range(config.num_hidden_layers)
        self._layers = [_Layer.take(take, f"model.layers.{index}.", precision) for index in layers]
        self._cos, self._sin = _rotary_table(config, context_tokens, dtype, device)

    def embed(self, token_ids: Sequence[int]) -> Tensor:
        """`(tokens, hidden)`, owned by the caller."""
        return functional.embedding(torch.tensor(token_ids, device=self.device), self._embedding)

    def forward(self, hidden: Tensor, spans: list[Span], logit_rows: list[int], cache: KVCache) -> Tensor:
        """One step of several sequences; their keys and values are added to the cache.

        Args:
            hidden: `(rows, hidden)` embeddings, the rows of one span after those of the one before.
            spans: how the rows belong to sequences.
            logit_rows: rows whose next token is wanted.
            cache: holds the blocks that the spans name.

        Returns:
            `(len(logit_rows), vocabulary)` logits, float32.
        """
        positions = torch.cat([torch.arange(span.past, span.end, device=self.device) for span in spans])
        slots = torch.cat([span.table.slots[span.past : span.end] for span in spans])
        rotation = self._cos[positions], self._sin[positions]
        masks = [self._mask(span, hidden) for span in spans]
        for index, layer in enumerate(self._layers):
            packed = self._project(layer, self._rms(hidden, layer.input_norm), rotation)
            cache.write(index, slots, packed[:, self.heads :])
            seen = [cache.read(index, span.table, span.end) for span in spans]
            attended = self._attend(packed[:, : self.heads], spans, masks, seen)
            hidden = hidden + layer.out(attended)
            hidden = hidden + self._mlp(layer, self._rms(hidden, layer.mlp_norm))
        wanted = self._rms(hidden[logit_rows], self._norm)
        return self._head(wanted).float()

    def _project(self, layer: _Layer, hidden: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Queries, keys and values `(rows, heads + 2 * kv_heads, head_width)`; the first two are rotated."""
        packed = layer.qkv(hidden).unflatten(1, (-1, self.head_width))
        turned = packed[:, : self.heads + self.kv_heads]
        cos, sin = rotation
        turned.copy_(torch.addcmul(turned * cos, turned.roll(self.head_width // 2, -1), sin))
        return packed

    def _attend(
        self, queries: Tensor, spans: list[Span], masks: list[Tensor | None], seen: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """`(rows, heads, head_width)` to `(rows, heads * head_width)`, each over what it has seen."""
        # The queries that share a key head are rows of one attention, so that keys are never repeated (GQA).
        grouped = queries.unflatten(1, (self.kv_heads, -1)).split([span.rows for span in spans])
        attended = []
        for span, query, mask, (keys, values) in zip(spans, grouped, masks, seen, strict=True):
            if span.rows > 1:
                query = query.transpose(0, 1).flatten(1, 2)[None]
            out = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
            attended.append(out if span.rows == 1 else out[0].unflatten(1, (span.rows, -1)).transpose(0, 1))
        return torch.cat(attended).flatten(1)

    def _mask(self, span: Span, hidden: Tensor) -> Tensor | None:
        """Additive causal mask `(rows * group, past + rows)`; a single row sees everything and needs none."""
        if span.rows == 1:
            return None
        mask = torch.full((span.rows, span.end), -torch.inf, dtype=hidden.dtype, device=hidden.device)
        return mask.triu_(span.past + 1).repeat_interleave(self.heads // self.kv_heads, 0)

    def _mlp(self, layer: _Layer, hidden: Tensor) -> Tensor:
        gate, up = layer.gate_up(hidden).chunk(2, -1)
        return layer.down(functional.silu(gate) * up)

    def _rms(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(hidden, weight.shape, weight, self.config.rms_norm_eps)


def _check(config: Qwen2Config) -> None:
    if _rope(config).get("rope_type") != "default":
        raise ValueError(f"rope parameters {_rope(config)} are not supported, only rope_type 'default'")
    if config.hidden_act != "silu":
        raise ValueError(f"hidden_act {config.hidden_act!r} is not supported, only 'silu'")
    if set(config.layer_types or ["full_attention"]) != {"full_attention"}:
        raise ValueError("sliding-window attention is not supported")


def _rope(config: Qwen2Config) -> dict[str, Any]:
    return dict(config.rope_parameters or {})


def _rotary_table(config: Qwen2Config, tokens: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each `(tokens, 1, head_width)`.

    The first half of the sines is negated: turning x is then `x * cos + roll(x) * sin` with no concatenation.
    """
    width = head_width(config)
    step_angles = 1.0 / _rope(config)["rope_theta"] ** (torch.arange(0, width, 2).float() / width)
    angles = torch.arange(tokens).float()[:, None] * step_angles
    cos, sin = angles.cos(), angles.sin()
    table = torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)
    return table[0][:, None].to(device, dtype), table[1][:, None].to(device, dtype)
