"""A batch of unlike clips through the encoder, where a bad clip fails alone. What Triton's model.py calls."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from services.qwen2_audio.encoder import AudioEncoder
from services.qwen2_audio.mel import HOP_SAMPLES, SAMPLE_RATE_HZ, audio_token_count, stored_frame_count

_WARM_UP_FRAMES = SAMPLE_RATE_HZ // HOP_SAMPLES


class ClipError(ValueError):
    """What is wrong with one clip, in words for its sender."""


@dataclass(frozen=True)
class Clip:
    """One request as it came over the wire.

    Attributes:
        features: float32 ``(1, mel_bins, stored_frames)``.
        num_frames: int32 ``(1, 1)``, the clip's own mel frames without the halo.
    """

    features: Tensor
    num_frames: Tensor


def encode_batch(encoder: AudioEncoder, clips: Sequence[Clip]) -> list[Tensor | ClipError]:
    """Encode all sound clips in one call of the encoder.

    Returns:
        Per clip, in order, float32 ``(1, tokens, hidden_size)`` on the CPU, or what is wrong with it.
    """
    faults = [find_fault(encoder, clip) for clip in clips]
    sound = [clip for clip, fault in zip(clips, faults, strict=True) if fault is None]
    embeddings = iter(_encode(encoder, sound))
    return [next(embeddings) if fault is None else fault for fault in faults]


def find_fault(encoder: AudioEncoder, clip: Clip) -> ClipError | None:
    """What is wrong with a clip, or None. The order matters: frames are judged only once they are one number."""
    if clip.features.ndim != 3 or len(clip.features) != 1 or clip.num_frames.numel() != 1:
        return ClipError("a request carries one clip: features (1, mel_bins, frames) and num_frames (1, 1)")
    frames = int(clip.num_frames)
    if frames > encoder.max_frames:
        return ClipError(f"num_frames is {frames}; a clip has at most {encoder.max_frames} mel frames (30 s)")
    if audio_token_count(frames) < 1:
        return ClipError(f"num_frames is {frames}; a clip needs at least 3 mel frames to give one audio token")
    expected = (encoder.mel_bins, stored_frame_count(frames))
    if tuple(clip.features.shape[1:]) != expected:
        given = tuple(clip.features.shape[1:])
        return ClipError(f"features of {frames} mel frames have the shape {expected}, halo included; got {given}")
    if not torch.isfinite(clip.features).all():
        return ClipError("features hold NaN or infinite values")
    return None


def warm_up(encoder: AudioEncoder) -> None:
    """Encode a second of silence, so that the first caller does not pay for lazy initialization."""
    features = torch.zeros(encoder.mel_bins, stored_frame_count(_WARM_UP_FRAMES))
    _encode(encoder, [Clip(features[None], torch.tensor([[_WARM_UP_FRAMES]]))])


@torch.inference_mode()
def _encode(encoder: AudioEncoder, clips: Sequence[Clip]) -> list[Tensor]:
    weight = encoder.multi_modal_projector.linear.weight
    features = [clip.features[0].to(weight.device, weight.dtype) for clip in clips]
    embeddings = encoder(features, [int(clip.num_frames) for clip in clips])
    return [clip[None].float().cpu() for clip in embeddings]
