"""Publishing: what is written, what is refused, and that a refusal leaves nothing behind."""

from pathlib import Path

import pytest
import torch
from google.protobuf import text_format
from safetensors.torch import load_file, save_file
from tritonclient.grpc import model_config_pb2

from services.encoder.publish import ParityError, Published, PublishError, publish, published_version
from services.encoder.repository import EncoderRepository
from services.encoder.settings import EncoderSettings
from services.qwen2_audio.config import CheckpointError
from services.qwen2_audio.encoder import EncoderLayer
from services.qwen2_audio.weights import Checkpoint, load_audio_encoder
from tests.checkpoints import make_official_checkpoint

pytestmark = pytest.mark.unit

SETTINGS = EncoderSettings()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_official_checkpoint(tmp_path_factory.mktemp("checkpoint"), mel_bins=80)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_official_checkpoint(tmp_path_factory.mktemp("other"), mel_bins=80, seed=1, names="current", shards=1)


@pytest.fixture(scope="module")
def first(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Published:
    return publish(checkpoint, tmp_path_factory.mktemp("repository"), settings=SETTINGS)


def files(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def served_config(repository: Path) -> model_config_pb2.ModelConfig:
    text = (repository / "audio_encoder" / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_a_version_is_the_audio_half_with_the_shell_that_runs_it(checkpoint: Path, first: Published) -> None:
    assert first.version == 1
    assert {p.name for p in first.directory.iterdir()} == {"model.py", "config.json", "model.safetensors"}
    assert (first.directory.stat().st_mode & 0o777) == 0o755
    published, source = Checkpoint(first.directory).audio_tensors(), Checkpoint(checkpoint).audio_tensors()
    assert published.keys() == source.keys()
    assert all(torch.equal(published[name], source[name]) for name in source)
    assert not [name for name in load_file(first.directory / "model.safetensors") if "lm_head" in name]


def test_triton_is_told_the_exact_dimensions_the_bounds_and_the_fingerprint(checkpoint: Path, first: Published) -> None:
    config = served_config(first.directory.parents[1])
    assert list(config.input[0].dims) == [80, -1]
    assert config.input[0].allow_ragged_batch
    assert list(config.output[0].dims) == [-1, 64]
    policy = config.dynamic_batching.default_queue_policy
    assert policy.max_queue_size == SETTINGS.max_queue_size
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert policy.default_timeout_microseconds == SETTINGS.queue_timeout_seconds * 1e6
    assert not config.response_cache.enable
    assert config.parameters["fingerprint_1"].string_value == first.fingerprint == Checkpoint(checkpoint).fingerprint


def test_every_version_keeps_its_own_fingerprint(checkpoint: Path, other: Path, tmp_path: Path) -> None:
    versions = [publish(path, tmp_path, settings=SETTINGS) for path in (checkpoint, other)]
    versions.append(publish(checkpoint, tmp_path, version=9, settings=SETTINGS))
    assert [v.version for v in versions] == [1, 2, 9]
    parameters = served_config(tmp_path).parameters
    for v in versions:
        assert parameters[f"fingerprint_{v.version}"].string_value == v.fingerprint
    assert published_version(tmp_path, versions[0].fingerprint) == 9
    assert published_version(tmp_path, versions[1].fingerprint) == 2
    assert published_version(tmp_path, "unknown") is None


def test_a_version_with_the_shell_of_another_release_does_not_count_as_published(
    checkpoint: Path, tmp_path: Path
) -> None:
    published = publish(checkpoint, tmp_path, settings=SETTINGS)
    (published.directory / "model.py").write_text("# of another release\n")
    assert published_version(tmp_path, published.fingerprint) is None


def test_versions_never_change(other: Path, first: Published) -> None:
    before = files(first.directory.parents[1])
    with pytest.raises(PublishError, match="version 1 is there already"):
        publish(other, first.directory.parents[1], version=1, settings=SETTINGS)
    with pytest.raises(PublishError, match="not 0"):
        publish(other, first.directory.parents[1], version=0, settings=SETTINGS)
    assert files(first.directory.parents[1]) == before


def test_a_model_of_other_dimensions_is_refused(first: Published, tmp_path: Path) -> None:
    before = files(first.directory.parents[1])
    wide = make_official_checkpoint(tmp_path, mel_bins=128)
    with pytest.raises(PublishError, match="128 mel bins and width 64, but version 1 has 80 and 64"):
        publish(wide, first.directory.parents[1], settings=SETTINGS)
    assert files(first.directory.parents[1]) == before


@pytest.fixture
def slightly_wrong_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our encoder computes each layer a thousandth too large."""
    forward = EncoderLayer.forward
    monkeypatch.setattr(EncoderLayer, "forward", lambda self, hidden, lengths: forward(self, hidden, lengths) * 1.001)


@pytest.mark.usefixtures("slightly_wrong_layers")
def test_an_encoder_that_differs_from_transformers_is_refused_with_the_numbers(
    checkpoint: Path, first: Published
) -> None:
    before = files(first.directory.parents[1])
    with pytest.raises(ParityError) as refused:
        publish(checkpoint, first.directory.parents[1], settings=SETTINGS)
    assert all(row.alone > 1e-4 and row.batched > 1e-4 for row in refused.value.report.rows)
    assert "30 s: " in str(refused.value)
    assert files(first.directory.parents[1]) == before
    assert not list(first.directory.parent.glob(".staging-*"))


@pytest.mark.usefixtures("slightly_wrong_layers")
def test_a_refused_first_version_leaves_an_empty_repository(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ParityError):
        publish(checkpoint, tmp_path, settings=SETTINGS)
    assert EncoderRepository(tmp_path).versions() == []
    assert set(files(tmp_path)) == {"audio_encoder/.lock"}


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    path = make_official_checkpoint(tmp_path / "checkpoint", mel_bins=80, shards=1, names="current")
    tensors = load_file(path / "model.safetensors")
    tensors["model.multi_modal_projector.linear.bias"][0] = float("nan")
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ParityError, match="nan"):
        publish(path, tmp_path / "repository", settings=SETTINGS)


def test_an_unreadable_checkpoint_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        publish(tmp_path / "nowhere", tmp_path / "repository", settings=SETTINGS)
    assert not (tmp_path / "repository").exists()


def test_settings_can_change_without_a_new_version(checkpoint: Path, tmp_path: Path) -> None:
    published = publish(checkpoint, tmp_path, settings=SETTINGS)
    production = EncoderSettings(
        device="gpu", instances=2, dtype="bfloat16", threads=3, max_queue_delay_us=250, served_versions=(1, 4)
    )
    EncoderRepository(tmp_path).write_config(production)
    config = served_config(tmp_path)
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert config.instance_group[0].count == 2
    assert config.dynamic_batching.max_queue_delay_microseconds == 250
    assert list(config.version_policy.specific.versions) == [1, 4]
    assert config.parameters["dtype"].string_value == "bfloat16"
    assert config.parameters["threads"].string_value == "3"
    assert config.parameters["fingerprint_1"].string_value == published.fingerprint


def test_the_published_weights_load_as_an_encoder(first: Published) -> None:
    assert load_audio_encoder(first.directory).hidden_size == 64
