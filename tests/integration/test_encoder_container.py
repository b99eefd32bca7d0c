"""The encoder as a container runs it: over a model volume that it only reads, and only once the volume is whole."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.errors import Unavailable
from services.encoder import serve
from services.encoder.parity import synthetic_clip
from services.encoder.ready import Ready, find_ready, folder, wait_ready
from services.encoder.settings import EncoderSettings
from services.encoder.volume import fill
from services.local.platform import http_answers
from services.local.triton import TritonServer
from services.pipeline.encoder_client import EncoderClient
from services.qwen2_audio.mel import log_mel
from tests.certificates import Certificates, make_certificates
from tests.checkpoints import make_official_checkpoint
from tests.deploy.metric_names import TRITON
from tests.triton import free_ports

pytestmark = pytest.mark.integration

MODEL = "house/tiny"
START_SECONDS = 300.0


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume with one model, named like one of the hub and given as a directory."""
    root = tmp_path_factory.mktemp("models")
    checkpoint = make_official_checkpoint(root / "given", mel_bins=128)
    fill(root, str(checkpoint), EncoderSettings())
    return root


@pytest.fixture(scope="module")
def model(volume: Path) -> str:
    return str(volume / "given")


def test_a_filled_volume_is_filled_again_in_no_time_and_changes_nothing(volume: Path, model: str) -> None:
    before = {p: p.stat().st_mtime_ns for p in (folder(volume, model) / "triton").rglob("model.safetensors")}
    again = fill(volume, model, EncoderSettings())
    assert again == find_ready(volume, model)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(before) == 1


@pytest.mark.parametrize("missing", ["ready.json", "checkpoint", "triton/audio_encoder/1/model.py"])
def test_a_half_written_volume_is_not_served(
    volume: Path,
    model: str,
    tmp_path: Path,
    missing: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    half = folder(tmp_path, model)
    half.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder(volume, model), half, symlinks=True)
    (half / "checkpoint").unlink()
    (half / "checkpoint").symlink_to(volume / "given")
    assert find_ready(tmp_path, model) is not None
    (half / missing).unlink()
    assert find_ready(tmp_path, model) is None
    with pytest.raises(TimeoutError, match="is not ready in"):
        wait_ready(tmp_path, model, timeout_seconds=0)
    monkeypatch.setenv("AURICLE_ENCODER_VOLUME", str(tmp_path))
    monkeypatch.setenv("AURICLE_ENCODER_MODEL", model)
    assert serve.main() == 1
    assert "holds no model that is ready" in capsys.readouterr().err


def test_a_model_of_another_name_is_not_taken_for_the_wanted_one(volume: Path, model: str) -> None:
    (volume / "other").mkdir(exist_ok=True)
    ready = find_ready(volume, model)
    assert isinstance(ready, Ready)
    (volume / "other" / "ready.json").write_text(json.dumps({**ready.__dict__}))
    assert find_ready(volume, "other") is None


def files(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


def test_two_releases_serve_from_one_volume_each_its_own_version(volume: Path, model: str, tmp_path: Path) -> None:
    shared = folder(tmp_path, model)
    shared.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder(volume, model), shared, symlinks=False)
    versions = shared / "triton" / "audio_encoder"
    shutil.copytree(versions / "1", versions / "2")
    (versions / "2" / "model.py").write_text("# of the next release")
    ready = find_ready(tmp_path, model)
    assert ready is not None
    assert ready.version == 1


def metrics_of(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        return str(response.read().decode())


@pytest.fixture
def ports() -> list[int]:
    return free_ports(3)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path / "certificates")


@pytest.fixture
def served(
    volume: Path,
    model: str,
    ports: list[int],
    certificates: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[subprocess.Popen[bytes]]:
    """What `python -m services.encoder.serve` becomes, with this machine's Triton as the program."""
    parts = TritonServer(
        tmp_path, grpc_port=1, http_port=2, metrics_port=3, log_path=tmp_path / "unused", cache_dir=tmp_path / "cache"
    )
    binary, *options = parts.command()
    backends = next(option for option in options if option.startswith("--backend-directory"))
    program = tmp_path / "tritonserver"
    program.write_text(f'#!/bin/sh\nexec {binary} {backends} "$@"\n')
    program.chmod(0o755)
    names = ("GRPC_PORT", "HTTP_PORT", "METRICS_PORT")
    environment = {
        "AURICLE_ENCODER_TRITON": str(program),
        "AURICLE_ENCODER_VOLUME": str(volume),
        "AURICLE_ENCODER_MODEL": model,
        "AURICLE_ENCODER_MAX_BATCH_SIZE": "3",
        "AURICLE_ENCODER_DRAIN_SECONDS": "150",
        **{f"AURICLE_ENCODER_{name.upper()}": str(path) for name, path in certificates.server().items()},
        **{f"AURICLE_ENCODER_{name}": str(port) for name, port in zip(names, ports, strict=True)},
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execvp", lambda _, arguments: became.append(arguments))
    serve.main()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(became[0], env=parts.environment(), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not http_answers(ports[2]) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert http_answers(ports[2]), (tmp_path / "log").read_text()[-2000:]
        yield process
    finally:
        process.kill()
        process.wait()


async def test_triton_serves_the_volume_as_the_environment_says_and_leaves_it_alone(
    volume: Path,
    model: str,
    ports: list[int],
    certificates: Certificates,
    served: subprocess.Popen[bytes],
    tmp_path: Path,
) -> None:
    before = files(volume)
    stranger = EncoderClient(f"127.0.0.1:{ports[0]}", tls=certificates.stranger)
    with pytest.raises(Unavailable):
        await stranger.describe()
    await stranger.close()
    client = EncoderClient(f"127.0.0.1:{ports[0]}", tls=certificates.caller)
    mel = log_mel(synthetic_clip(1.0), 128)
    answer = await client.encode(mel.features, mel.num_frames, timeout_seconds=60)
    info = await client.describe()
    await client.close()
    assert answer.embeddings.shape == (25, 64)
    ready = find_ready(volume, model)
    assert ready is not None
    assert (info.fingerprint, info.version) == (ready.fingerprint, ready.version)
    assert "max_batch_size: 3" in (tmp_path / "triton-repository/audio_encoder/config.pbtxt").read_text()
    assert files(volume) == before
    metrics = metrics_of(ports[2])
    # Alerts, dashboards and scalers go by these names.
    assert {name for name in TRITON if f'{name}{{model="audio_encoder"' not in metrics} == set()
    served.send_signal(signal.SIGTERM)
    assert served.wait(200) == 0
