"""What a checkpoint is, told without loading its weights."""

from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2ForCausalLM

from services.qwen2_audio.config import audio_config, text_config
from services.qwen2_audio.encoder import AudioEncoder
from services.qwen2_audio.weights import Checkpoint


def describe_checkpoint(directory: Path) -> dict[str, Any]:
    """Sizes and fingerprint of a checkpoint; reads its files once, for the fingerprint.

    Raises:
        CheckpointError: it cannot be used.
    """
    checkpoint = Checkpoint(directory)
    audio, text = audio_config(checkpoint.config), text_config(checkpoint.config)
    with torch.device("meta"):
        encoder, decoder = AudioEncoder(checkpoint.config), Qwen2ForCausalLM(text)
    return {
        "directory": str(directory),
        "fingerprint": checkpoint.fingerprint,
        "encoder": {
            "parameters": _parameters(encoder),
            "mel_bins": audio.num_mel_bins,
            "layers": audio.encoder_layers,
            "width": audio.d_model,
        },
        "decoder": {
            "parameters": _parameters(decoder),
            "layers": text.num_hidden_layers,
            "width": text.hidden_size,
            "vocabulary": text.vocab_size,
            "context_tokens": text.max_position_embeddings,
        },
    }


def _parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
