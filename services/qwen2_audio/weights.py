"""Checkpoints in the official layout of Qwen2-Audio, read half by half.

A checkpoint is a directory with ``config.json``, tokenizer files and either ``model.safetensors`` or several shards
with ``model.safetensors.index.json``. Tensors may carry the hub's names (``language_model.model.layers.0...``) or
those of the current transformers classes (``model.language_model.layers.0...``). The audio half and the text half are
read on their own, each from the shards that hold it and nothing else.
"""

import functools
import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import Qwen2Config

from services.qwen2_audio.config import (
    CONFIG_FILE,
    CheckpointError,
    head_width,
    read_config,
    read_end_tokens,
    read_json,
    text_config,
)
from services.qwen2_audio.encoder import AudioEncoder

_WEIGHTS_FILE = "model.safetensors"
_INDEX_FILE = "model.safetensors.index.json"
_HEAD = "lm_head.weight"
_EMBEDDING = "model.embed_tokens.weight"
_AUDIO_PREFIXES = ("audio_tower.", "multi_modal_projector.")
_LISTED_NAMES = 8

# Stored name to ours: audio names without a prefix, text names as Qwen2ForCausalLM has them.
_RENAMES = (
    (re.compile(r"^model\.(?=audio_tower\.|multi_modal_projector\.)"), ""),
    (re.compile(r"^language_model\.(?=model\.|lm_head\.)"), ""),
    (re.compile(r"^model\.language_model\."), "model."),
)

Shapes = dict[str, tuple[int, ...]]


class Checkpoint:
    """A checkpoint directory, opened but not loaded: only its config and tensor names are in memory.

    Args:
        path: the directory.

    Raises:
        CheckpointError: no such directory, no readable config or weights, or not a Qwen2-Audio model.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = read_config(self.path)
        self._stored = _find_tensors(self.path)

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        """Ids that end an answer; see ``read_end_tokens``."""
        return read_end_tokens(self.path, self.config)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over the config and every weight file: the same content, the same fingerprint.

        Reads all weights once (about a second per GB).
        """
        files = [self.path / CONFIG_FILE, *sorted({file for _, file in self._stored.values()})]
        total = hashlib.sha256()
        for file in files:
            try:
                with file.open("rb") as stream:
                    total.update(hashlib.file_digest(stream, "sha256").digest())
            except OSError as error:
                raise CheckpointError(f"cannot read {file}: {error.strerror}") from error
        return total.hexdigest()

    def located(self) -> dict[str, tuple[str, Path]]:
        """Every tensor under our name: the name it is stored under, and its file."""
        return dict(self._stored)

    def audio_tensors(self) -> dict[str, Tensor]:
        """Audio tower and projector on the CPU, as stored: ``audio_tower.*``, ``multi_modal_projector.*``.

        Raises:
            CheckpointError: naming what is missing, unexpected or misshapen.
        """
        with torch.device("meta"):
            encoder = AudioEncoder(self.config)
        return self._read(_shapes(encoder), audio=True)

    def text_tensors(self) -> dict[str, Tensor]:
        """The decoder on the CPU, as stored, named as in ``Qwen2ForCausalLM``; ``lm_head.weight`` always among them.

        The head equals the embeddings only where the config ties them and no head is stored.

        Raises:
            CheckpointError: naming what is missing, unexpected or misshapen.
        """
        shapes = text_shapes(text_config(self.config))
        tied = text_config(self.config).tie_word_embeddings and _HEAD not in self._stored
        if tied:
            del shapes[_HEAD]
        tensors = self._read(shapes, audio=False)
        if tied:
            tensors[_HEAD] = tensors[_EMBEDDING]
        return tensors

    def _read(self, expected: Shapes, *, audio: bool) -> dict[str, Tensor]:
        present = {name for name in self._stored if name.startswith(_AUDIO_PREFIXES) == audio}
        problems = _listed("missing", expected.keys() - present)
        problems += _listed("unexpected", present - expected.keys())
        if problems:
            raise CheckpointError(f"{self.path}: {'; '.join(problems)}")
        by_file: dict[Path, list[str]] = defaultdict(list)
        for name in expected:
            by_file[self._stored[name][1]].append(name)
        tensors: dict[str, Tensor] = {}
        for file, names in by_file.items():
            tensors |= _read_file(file, {name: self._stored[name][0] for name in names})
        wrong = {
            f"{name} {tuple(tensor.shape)} instead of {expected[name]}"
            for name, tensor in tensors.items()
            if tuple(tensor.shape) != expected[name]
        }
        if wrong:
            raise CheckpointError(f"{self.path}: {'; '.join(_listed('misshapen', wrong))}")
        return tensors


def load_audio_encoder(path: Path | str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> AudioEncoder:
    """The audio half of a checkpoint, ready to run: evaluation mode, no gradients.

    Raises:
        CheckpointError: see ``Checkpoint``.
    """
    checkpoint = Checkpoint(path)
    tensors = checkpoint.audio_tensors()
    with torch.device("meta"):
        encoder = AudioEncoder(checkpoint.config)
    encoder.load_state_dict({name: tensor.to(device, dtype) for name, tensor in tensors.items()}, assign=True)
    return encoder.eval().requires_grad_(False)


def _find_tensors(directory: Path) -> dict[str, tuple[str, Path]]:
    """Our name of every tensor: the name it is stored under and its file."""
    index = directory / _INDEX_FILE
    if index.exists():
        located = _read_index(index)
    else:
        file = directory / _WEIGHTS_FILE
        located = dict.fromkeys(_names_in(file), file)
    stored: dict[str, tuple[str, Path]] = {}
    for name, file in located.items():
        ours = _our_name(name)
        if ours in stored:
            raise CheckpointError(f"{directory}: {stored[ours][0]} and {name} are the same tensor")
        stored[ours] = (name, file)
    return stored


def _read_index(index: Path) -> dict[str, Path]:
    shard_of = read_json(index).get("weight_map")
    if not isinstance(shard_of, dict):
        raise CheckpointError(f"{index}: no weight_map")
    outside = {str(shard) for shard in shard_of.values() if Path(str(shard)).name != shard}
    if outside:
        raise CheckpointError(f"{index}: {'; '.join(_listed('shards outside the directory', outside))}")
    return {name: index.parent / shard for name, shard in shard_of.items()}


def _names_in(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="pt") as tensors:
            return list(tensors.keys())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error


def _read_file(file: Path, stored_names: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors of one file under our names, given the names they are stored under."""
    try:
        with safe_open(file, framework="pt") as tensors:
            return {ours: tensors.get_tensor(stored) for ours, stored in stored_names.items()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error


def _our_name(stored: str) -> str:
    for pattern, replacement in _RENAMES:
        stored = pattern.sub(replacement, stored)
    return stored


def _shapes(module: torch.nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def text_shapes(config: Qwen2Config) -> Shapes:
    """Shapes of ``Qwen2ForCausalLM``'s tensors by name; importing it would take every service seconds at its start."""
    hidden, inner, vocabulary = config.hidden_size, config.intermediate_size, config.vocab_size
    queries = config.num_attention_heads * head_width(config)
    keys = (config.num_key_value_heads or config.num_attention_heads) * head_width(config)
    layer: Shapes = {
        "input_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (queries, hidden),
        "self_attn.q_proj.bias": (queries,),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.k_proj.bias": (keys,),
        "self_attn.v_proj.weight": (keys, hidden),
        "self_attn.v_proj.bias": (keys,),
        "self_attn.o_proj.weight": (hidden, queries),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }
    shapes: Shapes = {_EMBEDDING: (vocabulary, hidden), "model.norm.weight": (hidden,), _HEAD: (vocabulary, hidden)}
    for index in range(config.num_hidden_layers):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    return shapes


def _listed(what: str, names: set[str]) -> list[str]:
    """``["missing: a, b and 3 more"]``, or nothing where there is nothing to tell."""
    if not names:
        return []
    shown = sorted(names)[:_LISTED_NAMES]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return [f"{what}: {', '.join(shown)}{more}"]
