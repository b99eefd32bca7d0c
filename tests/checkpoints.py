"""Tiny random checkpoints in the official layout of Qwen2-Audio, for tests of everything that loads or runs one.

Weights are scaled so that the decoder's answer depends on all it has read: attention and MLP outweigh the residual
stream, logits spread widely, greedy answers vary and hardly ever meet a near tie.
"""

import json
import math
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from services.qwen2_audio.config import text_config

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
END_TOKENS = ("<|endoftext|>", "<|im_end|>")
_VOCABULARY = 512  # rows of the embedding; the tokenizer has fewer, as in the official checkpoint
_LOGIT_SPREAD = 6.0
_LAYER_GAIN = 1.5  # less, and answers repeat themselves; more, and rounding differences grow with every layer
_CORPUS = (
    "You are a helpful assistant. What is said in this recording? Describe the sound, then answer the question.",
    "The first clip is music, the second one is speech, and the third one is the noise of a street in the rain.",
    "Is somebody speaking? Transcribe the speech. Translate it into German. How many people can be heard?",
    "system user assistant Audio 1: Audio 2: Audio 3: yes no maybe one two three four five",
)


def make_official_checkpoint(
    directory: Path,
    *,
    mel_bins: int = 128,
    tied: bool = False,
    shards: int = 3,
    names: Literal["hub", "current"] = "hub",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    heads: int = 4,
    endless: bool = False,
) -> Path:
    """Write a random checkpoint and return its directory.

    Args:
        directory: made if missing.
        mel_bins: 128 as in Qwen2-Audio-7B, or 80.
        tied: the config ties head and embeddings, and no head is stored.
        shards: with three, the first holds the audio tower alone, the second projector, embeddings and the first
            layers, the third the rest; with one, a single file without an index.
        names: of the tensors; the hub's, or those of the current transformers classes.
        seed: another seed, another model.
        dtype: of the stored tensors.
        heads: of the decoder's attention, two for each key head.
        endless: greedy answers never end by themselves.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    config = _config(tokenizer, mel_bins, tied, heads)
    if names == "current":
        config.save_pretrained(directory)
    else:
        _write_json(directory / "config.json", _hub_config(config))
    _write_json(directory / "generation_config.json", _generation_config(tokenizer))
    features = WhisperFeatureExtractor(feature_size=mel_bins, return_attention_mask=True)
    Qwen2AudioProcessor(features, tokenizer).save_pretrained(directory)
    features.save_pretrained(directory)
    tensors = _random_tensors(config, tokenizer, seed, endless)
    if tied:
        del tensors["lm_head.weight"]
    named = {name if names == "current" else hub_name(name): tensor.to(dtype) for name, tensor in tensors.items()}
    _write_shards(directory, named, shards)
    return directory


def hub_name(current: str) -> str:
    """The hub's name of a tensor, from that of the current transformers classes."""
    if current.startswith("lm_head."):
        return f"language_model.{current}"
    name = current.removeprefix("model.")
    return name.replace("language_model.", "language_model.model.", 1)


def _tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with Qwen2's normalization, a few merges and the official special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY - 40,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
        clean_up_tokenization_spaces=False,
    )


def _config(tokenizer: PreTrainedTokenizerFast, mel_bins: int, tied: bool, heads: int) -> Qwen2AudioConfig:
    ids = tokenizer.get_vocab()
    return Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": mel_bins,
            "d_model": 32,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": _VOCABULARY,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "tie_word_embeddings": tied,
        },
        audio_token_index=ids["<|AUDIO|>"],
        architectures=["Qwen2AudioForConditionalGeneration"],
    )


def _hub_config(config: Qwen2AudioConfig) -> dict[str, Any]:
    """As the hub's file has it: the rotary base under its older name, nothing that is derived."""
    content = config.to_dict()
    text = content["text_config"]
    text["rope_theta"] = text.pop("rope_parameters")["rope_theta"]
    del text["layer_types"]
    return content | {"torch_dtype": "float32", "ignore_index": -100, "vocab_size": text["vocab_size"]}


def _generation_config(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Sampling by default and two end tokens, as the hub's instruct model has it."""
    ids = tokenizer.get_vocab()
    return {
        "do_sample": True,
        "temperature": 0.7,
        "top_k": 20,
        "top_p": 0.5,
        "repetition_penalty": 1.1,
        "eos_token_id": [ids[name] for name in END_TOKENS],
        "pad_token_id": ids["<|endoftext|>"],
    }


def _random_tensors(
    config: Qwen2AudioConfig, tokenizer: PreTrainedTokenizerFast, seed: int, endless: bool
) -> dict[str, Tensor]:
    """Every tensor of the model, named as in the current transformers classes."""
    with torch.device("meta"):
        model = Qwen2AudioForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: _random(name, tuple(meta.shape), generator) for name, meta in model.state_dict().items()}
    # Never answered: ids without a token, and every special token that does not end the answer.
    ids = tokenizer.get_vocab()
    silent = [ids[name] for name in SPECIAL_TOKENS if endless or name not in END_TOKENS]
    silent += range(len(tokenizer), _VOCABULARY)
    tied = text_config(config).tie_word_embeddings
    head = "model.language_model.embed_tokens.weight" if tied else "lm_head.weight"
    tensors[head][silent] = 0.0
    return tensors


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if "norm" in name and name.endswith("weight"):
        return 1.0 + 0.1 * noise
    if name.endswith("bias"):
        return 0.1 * noise
    if "embed" in name:
        return noise
    if "conv1" in name:  # blind to loudness, so that its output varies with time as speech does
        noise -= noise.mean((1, 2), keepdim=True)
    gain = _LOGIT_SPREAD if name.startswith("lm_head") else _LAYER_GAIN
    return gain * noise / math.sqrt(math.prod(shape[1:]))


def _write_shards(directory: Path, tensors: dict[str, Tensor], shards: int) -> None:
    if shards == 1:
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        return
    audio = [name for name in tensors if "audio_tower." in name]
    rest = [name for name in tensors if "audio_tower." not in name]
    # As the hub's files are laid out: audio first, the projector among the decoder's tensors, the head last.
    rest.sort(key=lambda name: (not name.endswith(("linear.weight", "linear.bias")), "lm_head" in name))
    per_shard = -(-len(rest) // (shards - 1))
    groups = [audio, *(rest[start : start + per_shard] for start in range(0, len(rest), per_shard))]
    weight_map: dict[str, str] = {}
    for number, group in enumerate(groups, 1):
        file = f"model-{number:05}-of-{shards:05}.safetensors"
        save_file({name: tensors[name] for name in group}, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(group, file)
    total_bytes = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total_bytes}, "weight_map": weight_map}
    _write_json(directory / "model.safetensors.index.json", index)


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2))
