"""The decoder as a plain Qwen2 checkpoint: what transformers loads is what the checkpoint holds, whole or not there."""

import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, GenerationConfig, Qwen2ForCausalLM

from services.qwen2_audio.export import export_decoder
from services.qwen2_audio.weights import Checkpoint
from tests.checkpoints import make_official_checkpoint

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("tied", [False, True])
def test_the_plain_checkpoint_is_the_decoder(tmp_path: Path, tied: bool) -> None:
    checkpoint = Checkpoint(make_official_checkpoint(tmp_path / "checkpoint", tied=tied, dtype=torch.float16))
    plain = export_decoder(checkpoint, tmp_path / "exports")
    loaded: Any = Qwen2ForCausalLM.from_pretrained(plain, dtype=torch.float16, output_loading_info=True)
    model, loading = loaded
    assert not any(loading[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    held = model.state_dict()
    expected = checkpoint.text_tensors()
    assert held.keys() == expected.keys()
    assert all(torch.equal(held[name], tensor) for name, tensor in expected.items())
    assert model.config.tie_word_embeddings is tied
    assert model.config.architectures == ["Qwen2ForCausalLM"]
    assert GenerationConfig.from_pretrained(plain).eos_token_id == list(checkpoint.end_token_ids)
    ours, theirs = (AutoTokenizer.from_pretrained(path).get_vocab() for path in (plain, checkpoint.path))
    assert ours == theirs


def test_it_is_written_once_and_other_weights_have_another_place(tmp_path: Path) -> None:
    first, other = (make_official_checkpoint(tmp_path / str(seed) / "checkpoint", seed=seed) for seed in (0, 1))
    exports = tmp_path / "exports"
    checkpoint = Checkpoint(first)
    made = export_decoder(checkpoint, exports)
    assert export_decoder(Checkpoint(other), exports) != made
    for shard in first.glob("*.safetensors"):
        shard.unlink()  # what is found is not read again
    assert export_decoder(checkpoint, exports) == made


def test_an_export_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    checkpoint = Checkpoint(make_official_checkpoint(tmp_path / "checkpoint"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises((OSError, SafetensorError), match="too large"):
            export_decoder(checkpoint, tmp_path / "exports")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "exports").iterdir())
