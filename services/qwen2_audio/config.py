"""The config of a checkpoint, with the types the rest of the library relies on."""

import json
from pathlib import Path
from typing import Any

from transformers import Qwen2AudioConfig, Qwen2AudioEncoderConfig, Qwen2Config

CONFIG_FILE = "config.json"
GENERATION_CONFIG_FILE = "generation_config.json"


class CheckpointError(Exception):
    """A checkpoint that cannot be used: a file or tensor is missing, unexpected, misshapen or unreadable."""


def read_config(directory: Path) -> Qwen2AudioConfig:
    """The config of a Qwen2-Audio model over Qwen2.

    Raises:
        CheckpointError: the file is missing or unreadable, or describes another model.
    """
    declared = read_json(directory / CONFIG_FILE)
    if declared.get("model_type") != "qwen2_audio":
        raise CheckpointError(f"{directory}: model_type is {declared.get('model_type')!r}, not 'qwen2_audio'")
    try:
        config = Qwen2AudioConfig.from_dict(declared)
        audio_config(config)
        text_config(config)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{directory / CONFIG_FILE}: {error}") from error
    return config


def read_end_tokens(directory: Path, config: Qwen2AudioConfig) -> tuple[int, ...]:
    """Ids that end an answer: those of ``generation_config.json``, else the text model's own.

    Raises:
        CheckpointError: neither names any.
    """
    file = directory / GENERATION_CONFIG_FILE
    declared = read_json(file).get("eos_token_id") if file.exists() else None
    ends = text_config(config).eos_token_id if declared is None else declared
    if ends is None:
        raise CheckpointError(f"{directory}: no eos_token_id in {CONFIG_FILE} or {GENERATION_CONFIG_FILE}")
    return (ends,) if isinstance(ends, int) else tuple(ends)


def audio_config(config: Qwen2AudioConfig) -> Qwen2AudioEncoderConfig:
    """The audio tower's part; TypeError where it is of another model."""
    part = config.audio_config
    if not isinstance(part, Qwen2AudioEncoderConfig):
        raise TypeError(f"audio_config is a {type(part).__name__}, not a Qwen2AudioEncoderConfig")
    return part


def text_config(config: Qwen2AudioConfig) -> Qwen2Config:
    """The decoder's part; TypeError where it is of another model."""
    part = config.text_config
    if not isinstance(part, Qwen2Config):
        raise TypeError(f"text_config is a {type(part).__name__}, not a Qwen2Config")
    return part


def head_width(config: Qwen2Config) -> int:
    """Width of an attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        CheckpointError: missing, unreadable, or something else than an object.
    """
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds no JSON object")
    return content
