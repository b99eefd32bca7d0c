"""The decoder of a checkpoint as a plain Qwen2 checkpoint, for engines that know Qwen2 but not Qwen2-Audio."""

import tempfile
from pathlib import Path

from huggingface_hub import save_torch_state_dict
from transformers import AutoTokenizer, GenerationConfig

from services.qwen2_audio.config import text_config
from services.qwen2_audio.place import publish
from services.qwen2_audio.weights import Checkpoint

_HEAD = "lm_head.weight"
_SHARD_SIZE = "5GB"


def export_decoder(checkpoint: Checkpoint, directory: Path) -> Path:
    """The directory of the plain checkpoint: written on the first call, found on later ones.

    Named by the checkpoint's fingerprint, so that other weights never pass for these. Tensors stay in the precision
    they are stored in. Holds the decoder in memory while it writes, and reads all weights once to name them.

    Args:
        checkpoint: whose decoder.
        directory: where exports are kept; made if missing.

    Raises:
        CheckpointError: tensors are missing, unexpected or misshapen.
        OSError, SafetensorError: the directory cannot be written, or is full.
    """
    directory = directory.expanduser()
    target = directory / f"{checkpoint.path.name}-decoder-{checkpoint.fingerprint[:16]}"
    if target.is_dir():
        return target
    tensors = checkpoint.text_tensors()
    directory.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed, so that a directory of that name is always whole.
    with tempfile.TemporaryDirectory(dir=directory, prefix=".exporting-") as scratch:
        made = Path(scratch) / target.name
        made.mkdir()
        config = text_config(checkpoint.config)
        embedding = tensors["model.embed_tokens.weight"]
        # Said outright, because readers take the head for the embeddings where the config says nothing.
        config.tie_word_embeddings = tensors[_HEAD].data_ptr() == embedding.data_ptr()
        if config.tie_word_embeddings:
            del tensors[_HEAD]
        config.architectures = ["Qwen2ForCausalLM"]
        config.save_pretrained(made)
        GenerationConfig(eos_token_id=list(checkpoint.end_token_ids)).save_pretrained(made)
        AutoTokenizer.from_pretrained(checkpoint.path).save_pretrained(made)
        save_torch_state_dict(tensors, made, max_shard_size=_SHARD_SIZE)
        publish(made, target)
    return target
