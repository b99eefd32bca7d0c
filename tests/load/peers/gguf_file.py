"""A plain Qwen2 checkpoint as a GGUF file without a tokenizer, for llama.cpp."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType
from safetensors.torch import load_file
from transformers import Qwen2Config

PRECISIONS = {"f32": GGMLQuantizationType.F32, "f16": GGMLQuantizationType.F16, "q8_0": GGMLQuantizationType.Q8_0}


def write_gguf(plain: Path, file: Path, precision: str) -> Path:
    """Write the file unless it is there; matrices in the precision, norms and biases in float32."""
    if file.exists():
        return file
    config: Any = Qwen2Config.from_pretrained(plain)
    aside = file.with_suffix(".part")
    writer = gguf.GGUFWriter(aside, "qwen2")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for shard in sorted(plain.glob("*.safetensors")):
        for name, tensor in load_file(shard).items():
            values = tensor.float().numpy()
            kind = PRECISIONS[precision] if values.ndim == 2 else GGMLQuantizationType.F32
            stem, _, suffix = name.rpartition(".")
            writer.add_tensor(f"{names.get_name(stem)}.{suffix}", _stored(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return aside.rename(file)


def _stored(values: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    return values if kind is GGMLQuantizationType.F32 else gguf.quants.quantize(values, kind)
