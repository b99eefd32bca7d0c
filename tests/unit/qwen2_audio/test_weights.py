"""Checkpoints: every layout and naming gives the same tensors, each half from its own shards, faults told by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2ForCausalLM

from services.qwen2_audio.config import CheckpointError, text_config
from services.qwen2_audio.weights import Checkpoint, load_audio_encoder, text_shapes
from tests.checkpoints import END_TOKENS, make_official_checkpoint
from tests.reference import Case

pytestmark = pytest.mark.unit

AUDIO_SHARD, MIDDLE_SHARD, LAST_SHARD = (f"model-{n:05}-of-00003.safetensors" for n in (1, 2, 3))
SINGLE_FILE = "model.safetensors"
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return make_official_checkpoint(tmp_path / "sharded")


@pytest.fixture
def single(tmp_path: Path) -> Path:
    return make_official_checkpoint(tmp_path / "single", shards=1)


def assert_same(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def rewrite(file: Path, change: Callable[[Tensors], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    file.unlink()
    save_file(tensors, file)


def edit_json(file: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_both_namings_and_layouts_give_the_same_tensors(sharded: Path, single: Path, tmp_path: Path) -> None:
    expected = Checkpoint(sharded)
    current = make_official_checkpoint(tmp_path / "current", names="current")
    for path in (single, current):
        checkpoint = Checkpoint(path)
        assert_same(checkpoint.audio_tensors(), expected.audio_tensors())
        assert_same(checkpoint.text_tensors(), expected.text_tensors())


def test_what_transformers_saves_is_read(official: Case, tmp_path: Path) -> None:
    official.reference.model.save_pretrained(tmp_path / "saved")
    saved, expected = Checkpoint(tmp_path / "saved"), Checkpoint(official.path)
    assert_same(saved.audio_tensors(), expected.audio_tensors())
    assert_same(saved.text_tensors(), expected.text_tensors())


def test_shapes_of_the_text_half_are_those_of_transformers(official: Case, mini: Case) -> None:
    for case in (official, mini):
        config = text_config(Checkpoint(case.path).config)
        with torch.device("meta"):
            expected = Qwen2ForCausalLM(config).state_dict()
        assert text_shapes(config) == {name: tuple(tensor.shape) for name, tensor in expected.items()}


def test_text_tensors_make_the_reference_decoder(official: Case) -> None:
    decoder = Qwen2ForCausalLM(text_config(Checkpoint(official.path).config))
    decoder.load_state_dict(Checkpoint(official.path).text_tensors())
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        torch.testing.assert_close(decoder(ids).logits, official.reference.model(ids).logits)


def test_the_text_half_needs_no_audio_shard(sharded: Path) -> None:
    expected = Checkpoint(sharded).text_tensors()
    (sharded / AUDIO_SHARD).unlink()
    assert_same(Checkpoint(sharded).text_tensors(), expected)
    with pytest.raises(CheckpointError, match=AUDIO_SHARD):
        Checkpoint(sharded).audio_tensors()


def test_the_audio_half_needs_no_shard_of_text_alone(sharded: Path) -> None:
    expected = Checkpoint(sharded).audio_tensors()
    (sharded / LAST_SHARD).unlink()
    assert_same(Checkpoint(sharded).audio_tensors(), expected)
    load_audio_encoder(sharded)
    with pytest.raises(CheckpointError, match=LAST_SHARD):
        Checkpoint(sharded).text_tensors()


def test_a_tied_head_is_the_embeddings(tmp_path: Path) -> None:
    tensors = Checkpoint(make_official_checkpoint(tmp_path, tied=True)).text_tensors()
    assert torch.equal(tensors["lm_head.weight"], tensors["model.embed_tokens.weight"])


def test_a_stored_head_is_kept_even_where_the_config_ties_it(sharded: Path) -> None:
    head = Checkpoint(sharded).text_tensors()["lm_head.weight"]
    edit_json(sharded / "config.json", lambda config: config["text_config"].update(tie_word_embeddings=True))
    tensors = Checkpoint(sharded).text_tensors()
    assert torch.equal(tensors["lm_head.weight"], head)
    assert not torch.equal(head, tensors["model.embed_tokens.weight"])


def test_an_untied_head_that_is_missing_is_refused(single: Path) -> None:
    rewrite(single / SINGLE_FILE, lambda tensors: tensors.pop("language_model.lm_head.weight"))
    with pytest.raises(CheckpointError, match=r"missing: lm_head\.weight"):
        Checkpoint(single).text_tensors()


def test_missing_unexpected_and_misshapen_tensors_are_listed(single: Path) -> None:
    file = single / SINGLE_FILE
    rewrite(file, lambda tensors: tensors.update({"audio_tower.extra": torch.zeros(1)}))
    rewrite(file, lambda tensors: tensors.pop("audio_tower.conv1.bias"))
    rewrite(file, lambda tensors: tensors.update({"language_model.model.norm.weight": torch.zeros(3)}))
    with pytest.raises(CheckpointError, match=r"missing: audio_tower\.conv1\.bias; unexpected: audio_tower\.extra"):
        Checkpoint(single).audio_tensors()
    with pytest.raises(CheckpointError, match=r"misshapen: model\.norm\.weight \(3,\) instead of \(64,\)"):
        Checkpoint(single).text_tensors()


def test_one_tensor_under_two_names_is_refused(single: Path) -> None:
    rewrite(single / SINGLE_FILE, lambda tensors: tensors.update({"lm_head.weight": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match="the same tensor"):
        Checkpoint(single)


def test_a_cut_file_is_refused(single: Path) -> None:
    file = single / SINGLE_FILE
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot read"):
        Checkpoint(single)


def test_an_index_may_not_point_outside_the_directory(sharded: Path) -> None:
    (sharded / AUDIO_SHARD).rename(sharded.parent / "outside.safetensors")

    def point_outside(index: dict) -> None:
        moved = {n: "../outside.safetensors" for n, s in index["weight_map"].items() if s == AUDIO_SHARD}
        index["weight_map"] |= moved

    edit_json(sharded / "model.safetensors.index.json", point_outside)
    with pytest.raises(CheckpointError, match="outside the directory"):
        Checkpoint(sharded)


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("config.json", "{", "not JSON"),
        ("config.json", "[]", "no JSON object"),
        ("config.json", '{"model_type": "qwen2"}', "not 'qwen2_audio'"),
        (
            "config.json",
            '{"model_type": "qwen2_audio", "text_config": {"model_type": "llama"}}',
            "not a Qwen2Config",
        ),
        ("config.json", '{"model_type": "qwen2_audio", "text_config": {"model_type": "no such"}}', "no such"),
        ("model.safetensors.index.json", "{}", "no weight_map"),
    ],
)
def test_unusable_files_are_refused(sharded: Path, file: str, content: str, complaint: str) -> None:
    (sharded / file).write_text(content)
    with pytest.raises(CheckpointError, match=complaint):
        Checkpoint(sharded)


def test_a_directory_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match=r"cannot read .*config\.json"):
            Checkpoint(path)


def test_the_fingerprint_follows_the_content(sharded: Path, tmp_path: Path) -> None:
    first = Checkpoint(sharded).fingerprint
    assert len(bytes.fromhex(first)) == 32
    copied = shutil.copytree(sharded, tmp_path / "copy")
    assert Checkpoint(copied).fingerprint == first
    rewrite(copied / MIDDLE_SHARD, lambda tensors: next(iter(tensors.values())).add_(1.0))
    assert Checkpoint(copied).fingerprint != first
    edit_json(sharded / "config.json", lambda config: config["audio_config"].update(encoder_attention_heads=2))
    assert Checkpoint(sharded).fingerprint != first


def test_half_precision_storage_is_given_as_stored(tmp_path: Path) -> None:
    path = make_official_checkpoint(tmp_path, dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in Checkpoint(path).text_tensors().values()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in load_audio_encoder(path).parameters()} == {torch.float32}


def test_end_tokens_come_from_the_generation_config_then_the_text_config(official: Case, sharded: Path) -> None:
    ids = official.reference.processor.tokenizer.convert_tokens_to_ids(list(END_TOKENS))
    assert Checkpoint(sharded).end_token_ids == tuple(ids)
    (sharded / "generation_config.json").unlink()
    assert Checkpoint(sharded).end_token_ids == (ids[1],)
    edit_json(sharded / "config.json", lambda config: config["text_config"].update(eos_token_id=None))
    with pytest.raises(CheckpointError, match="eos_token_id"):
        _ = Checkpoint(sharded).end_token_ids
