"""The files of auricle-mini: a checkpoint in the official layout, which transformers loads as it stands."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioEncoderConfig,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from services.qwen2_audio.config import audio_config, text_config
from services.qwen2_audio.mini.language_model import LanguageModel, read_language_model
from services.qwen2_audio.mini.manifest import Manifest
from services.qwen2_audio.mini.tokenizer import AUDIO_TOKENS, build_tokenizer

_VOCABULARY_MULTIPLE = 64
_WHISPER_HEAD_WIDTH = 64


def write_checkpoint(manifest: Manifest, directory: Path) -> None:
    """Write config, weights, tokenizer and processor of auricle-mini into an existing directory."""
    model = read_language_model(manifest.language_model)
    audio = load_file(manifest.audio)
    tokenizer = build_tokenizer(model)
    config = _config(model, audio, tokenizer)
    tensors = {**audio, **_text_tensors(model, manifest.lora, text_config(config).vocab_size)}
    half = {name: tensor.to(torch.float16).contiguous() for name, tensor in tensors.items()}
    weights = directory / "model.safetensors"
    save_file(half, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors leaves it to the owner alone, unlike every other file here
    config.save_pretrained(directory)
    _write_processor(tokenizer, audio_config(config).num_mel_bins, directory)
    ends = {name: getattr(model.config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    GenerationConfig(**ends).save_pretrained(directory)
    (directory / "auricle.json").write_text(manifest.text)


def _config(model: LanguageModel, audio: dict[str, Tensor], tokenizer: PreTrainedTokenizerFast) -> Qwen2AudioConfig:
    width, mel_bins, _ = audio["audio_tower.conv1.weight"].shape
    tower = Qwen2AudioEncoderConfig(
        num_mel_bins=mel_bins,
        d_model=width,
        encoder_layers=len([name for name in audio if name.endswith("fc1.weight")]),
        encoder_attention_heads=width // _WHISPER_HEAD_WIDTH,
        encoder_ffn_dim=audio["audio_tower.layers.0.fc1.weight"].shape[0],
    )
    text = model.config.to_dict() | {"vocab_size": _padded(len(tokenizer))}
    return Qwen2AudioConfig(
        audio_config=tower.to_dict(),
        text_config=text,
        audio_token_index=tokenizer.get_vocab()[AUDIO_TOKENS[0]],
        architectures=["Qwen2AudioForConditionalGeneration"],
        dtype="float32",  # to compute with; storage is half of it
    )


def _padded(tokens: int) -> int:
    return -(-tokens // _VOCABULARY_MULTIPLE) * _VOCABULARY_MULTIPLE


def _text_tensors(model: LanguageModel, lora: Path, vocabulary: int) -> dict[str, Tensor]:
    """The decoder under the hub's names, LoRA merged and vocabulary widened."""
    tensors = _with_lora(model.tensors, lora)
    embedding = tensors["embed_tokens.weight"]
    new_rows = embedding.mean(0).expand(vocabulary - len(embedding), -1)
    tensors["embed_tokens.weight"] = torch.cat([embedding, new_rows])
    named = {f"language_model.model.{name}": tensor for name, tensor in tensors.items()}
    # Qwen2-Audio ties nothing: without a head of its own in the file, transformers would run with a random one.
    named["language_model.lm_head.weight"] = tensors["embed_tokens.weight"].clone()
    return named


def _with_lora(tensors: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """W + alpha / r * B @ A for every matrix the file adapts."""
    with safe_open(file, framework="pt") as stored:
        scale = float(stored.metadata()["alpha"]) / float(stored.metadata()["r"])
        adapter = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
    merged = dict(tensors)
    for name in adapter:
        if name.endswith(".lora_A.weight"):
            module = name.removesuffix(".lora_A.weight")
            target = module.removeprefix("language_model.") + ".weight"
            delta = adapter[f"{module}.lora_B.weight"] @ adapter[name]
            merged[target] = merged[target] + scale * delta
    return merged


def _write_processor(tokenizer: PreTrainedTokenizerFast, mel_bins: int, directory: Path) -> None:
    features = WhisperFeatureExtractor(feature_size=mel_bins, return_attention_mask=True)
    Qwen2AudioProcessor(features, tokenizer).save_pretrained(directory)
    features.save_pretrained(directory)  # preprocessor_config.json, which older readers look for
