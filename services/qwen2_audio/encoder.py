"""Audio tower and projector for clips of any length, without padding.

Computes what ``Qwen2AudioModel`` of transformers computes for its 30 s inputs (convolutions, masked self-attention,
pooling, projector), but for each clip's own frames only. Clips of one call share every linear layer: their frames are
packed into one matrix; convolutions and attention run clip by clip, so no clip ever sees another.
Parameter names are those of the checkpoint (``audio_tower.*``, ``multi_modal_projector.*``).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2AudioConfig, Qwen2AudioEncoderConfig

from services.qwen2_audio.config import audio_config, text_config
from services.qwen2_audio.mel import HALO_FRAMES, audio_token_count, conv_frame_count


class AudioEncoder(nn.Module):
    """Turns log-mel features into the embeddings the decoder reads."""

    def __init__(self, config: Qwen2AudioConfig) -> None:
        super().__init__()
        audio = audio_config(config)
        self.mel_bins = audio.num_mel_bins
        self.max_frames = 2 * audio.max_source_positions
        self.hidden_size: int = text_config(config).hidden_size
        self.audio_tower = AudioTower(audio)
        self.multi_modal_projector = Projector(audio.d_model, self.hidden_size)

    def forward(self, features: Sequence[Tensor], num_frames: Sequence[int]) -> list[Tensor]:
        """Encode clips together.

        Args:
            features: per clip ``(mel_bins, stored_frames)``, as ``mel.log_mel`` lays them out (halo included).
            num_frames: per clip its own frames, without the halo.

        Returns:
            Per clip ``(tokens, hidden_size)`` in the encoder's dtype, ``tokens = audio_token_count(num_frames)``.

        Raises:
            ValueError: a clip too short to hold one audio token, too long, or stored with another number of frames.
        """
        if len(features) != len(num_frames):
            raise ValueError(f"{len(features)} clips of features but {len(num_frames)} frame counts")
        for clip, frames in zip(features, num_frames, strict=True):
            self._check(clip, frames)
        if not features:
            return []
        pooled = self.audio_tower(features, num_frames)
        tokens = [audio_token_count(frames) for frames in num_frames]
        return list(self.multi_modal_projector(pooled).split(tokens))

    def _check(self, clip: Tensor, frames: int) -> None:
        if audio_token_count(frames) < 1:
            raise ValueError(f"a clip of {frames} mel frames holds no audio token; at least 3 frames are needed")
        stored = min(self.max_frames, frames + HALO_FRAMES)
        if frames > self.max_frames or tuple(clip.shape) != (self.mel_bins, stored):
            raise ValueError(
                f"features of a clip of {frames} frames (at most {self.max_frames}) must have the shape "
                f"({self.mel_bins}, {stored}), got {tuple(clip.shape)}"
            )


class AudioTower(nn.Module):
    """``Qwen2AudioEncoder``: two convolutions, transformer layers, pooling by two, final norm."""

    def __init__(self, config: Qwen2AudioEncoderConfig) -> None:
        super().__init__()
        width = config.d_model
        self.conv1 = nn.Conv1d(config.num_mel_bins, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.max_source_positions, width)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, features: Sequence[Tensor], num_frames: Sequence[int]) -> Tensor:
        """Pooled frames of all clips, one after the other: ``(sum of tokens, width)``."""
        lengths = [conv_frame_count(frames) for frames in num_frames]
        hidden = torch.cat([self._convolve(clip, n) for clip, n in zip(features, lengths, strict=True)])
        for layer in self.layers:
            hidden = layer(hidden, lengths)
        pooled = [_pool_pairs(clip) for clip in hidden.split(lengths)]
        return self.layer_norm(torch.cat(pooled))

    def _convolve(self, clip: Tensor, length: int) -> Tensor:
        """``(length, width)`` from one clip's features; what the halo alone produced is dropped."""
        hidden = clip.to(self.conv1.weight)[None]
        hidden = functional.gelu(self.conv1(hidden))
        hidden = functional.gelu(self.conv2(hidden))
        return hidden[0, :, :length].T + self.embed_positions.weight[:length]


class EncoderLayer(nn.Module):
    """``Qwen2AudioEncoderLayer``: pre-norm self-attention and MLP."""

    def __init__(self, config: Qwen2AudioEncoderConfig) -> None:
        super().__init__()
        width = config.d_model
        self.self_attn = SelfAttention(width, config.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.activation = _activation(config.activation_function)

    def forward(self, hidden: Tensor, lengths: list[int]) -> Tensor:
        """``(sum of lengths, width)`` to the same shape."""
        hidden = hidden + self.self_attn(self.self_attn_layer_norm(hidden), lengths)
        hidden = hidden + self.fc2(self.activation(self.fc1(self.final_layer_norm(hidden))))
        if hidden.dtype == torch.float16:  # as the reference does: half precision overflows in large towers
            limit = torch.finfo(torch.float16).max - 1000
            hidden = hidden.clamp(-limit, limit)
        return hidden


class SelfAttention(nn.Module):
    """``Qwen2AudioAttention``: projections over all clips at once, attention within each clip."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.head_width = width // heads
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor, lengths: list[int]) -> Tensor:
        """``(sum of lengths, width)`` to the same shape."""
        query = self._heads(self.q_proj(hidden) * self.head_width**-0.5)
        key, value = self._heads(self.k_proj(hidden)), self._heads(self.v_proj(hidden))
        clips = zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True)
        attended = [functional.scaled_dot_product_attention(q, k, v, scale=1.0) for q, k, v in clips]
        return self.out_proj(torch.cat(attended, 2)[0].transpose(0, 1).flatten(1))

    def _heads(self, packed: Tensor) -> Tensor:
        """``(frames, width)`` to ``(1, heads, frames, head_width)``; torch's fused attention wants four dimensions."""
        return packed.unflatten(1, (-1, self.head_width)).transpose(0, 1)[None]


class Projector(nn.Module):
    """``Qwen2AudioMultiModalProjector``: from the tower's width to the decoder's."""

    def __init__(self, width: int, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, hidden_size)

    def forward(self, frames: Tensor) -> Tensor:
        """``(frames, width)`` to ``(frames, hidden_size)``."""
        return self.linear(frames)


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function that a configuration names. transformers' own table of them takes seconds to import."""
    known: dict[str, Callable[[Tensor], Tensor]] = {
        "gelu": functional.gelu,
        "relu": functional.relu,
        "silu": functional.silu,
    }
    if name not in known:
        raise ValueError(f"activation {name!r} is none of {', '.join(known)}")
    return known[name]


def _pool_pairs(clip: Tensor) -> Tensor:
    """Mean of each two neighboring frames; an odd last frame is dropped, as by ``AvgPool1d(2, stride=2)``."""
    pairs = clip[: clip.shape[0] // 2 * 2].unflatten(0, (-1, 2))
    return pairs.mean(1)
