"""The decoder as a process of its own: settings from the environment, metrics, and an orderly end on SIGTERM."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from auricle.v1 import decoder_pb2_grpc
from tests.checkpoints import make_official_checkpoint
from tests.decoder_client import request_of
from tests.prompts import text, user

pytestmark = pytest.mark.integration

START_SECONDS = 60


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_official_checkpoint(tmp_path_factory.mktemp("decoder") / "checkpoint")
    (path / "generation_config.json").write_text('{"eos_token_id": [511]}')
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def process(**settings: object) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ,
        **{f"AURICLE_DECODER_{name.upper()}": str(value) for name, value in settings.items()},
        "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path),
    }
    command = [sys.executable, "-m", "services.decoder"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def serving(channel: grpc.Channel) -> bool:
    request = health_pb2.HealthCheckRequest(service="auricle.v1.DecoderService")
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=START_SECONDS, wait_for_ready=True)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_it_serves_counts_and_finishes_its_work_on_sigterm(checkpoint: Path) -> None:
    port, metrics_port = free_port(), free_port()
    with process(port=port, metrics_port=metrics_port, checkpoint=checkpoint, threads=1) as running:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            while not serving(channel):
                assert running.poll() is None
            stub = decoder_pb2_grpc.DecoderServiceStub(channel)
            stream = stub.Generate(request_of([user(text("Hello"))], max_output_tokens=400), timeout=60)
            next(stream)
            running.send_signal(signal.SIGTERM)
            *_, last = stream
            assert last.completion.output_tokens == 400
        assert running.wait(timeout=30) == 0


def test_metrics_have_the_names_of_vllm(checkpoint: Path) -> None:
    port, metrics_port = free_port(), free_port()
    with process(port=port, metrics_port=metrics_port, checkpoint=checkpoint, threads=1) as running:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            while not serving(channel):
                assert running.poll() is None
            stub = decoder_pb2_grpc.DecoderServiceStub(channel)
            *_, _ = stub.Generate(request_of([user(text("Hello"))], max_output_tokens=9), timeout=60)
        page = urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10).read().decode()
    for line in (
        "num_requests_running 0.0",
        "num_requests_waiting 0.0",
        "kv_cache_usage_perc 0.0",
        "time_to_first_token_seconds_count 1.0",
        "inter_token_latency_seconds_count 8.0",
        "generation_tokens_total 9.0",
        'request_success_total{finish_reason="length"} 1.0',
    ):
        assert f"\nauricle_decoder_{line}\n" in page


def test_wrong_settings_end_it_with_a_message() -> None:
    with process(dtype="fp8", threads="many") as running:
        _, told = running.communicate(timeout=START_SECONDS)
        assert running.returncode == 2
    assert "AURICLE_DECODER_DTYPE" in told
    assert "AURICLE_DECODER_THREADS" in told
