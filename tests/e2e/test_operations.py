"""The platform in operation: what it reports, and what a caller sees when a part of it dies."""

import os
import signal
import time
import urllib.request
from typing import Any

import pytest

from auricle import AuricleError, Client, UnavailableError
from services.local.platform import HOST
from tests.collector import Collector
from tests.platform import RunningPlatform
from tests.prompts import TRANSCRIBE, audio, clip, text

pytestmark = pytest.mark.e2e


def question(seconds: float, seed: int) -> list[dict[str, Any]]:
    return [audio(seconds, seed), text(TRANSCRIBE)]


def kill(platform: RunningPlatform, name: str) -> None:
    pid = platform.supervisor.processes[name].pid
    assert pid
    os.kill(pid, signal.SIGKILL)


def recover(platform: RunningPlatform, client: Client) -> None:
    """Let the supervisor start what died, and wait until the gateway says that all is well."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        platform.supervisor.check()
        if client.model().ready:
            return
        time.sleep(0.1)
    pytest.fail(f"not ready again:\n{platform.log_tails()}")


def test_status_names_every_service(client: Client) -> None:
    model = client.model()
    assert model.ready
    assert {s.service for s in model.services} == {"preprocess", "encoder", "decoder", "cache", "workers"}
    assert len(model.fingerprint) == 64
    assert model.model == "auricle-mini"
    assert model.context_tokens == 8192


def test_usage_says_where_the_time_went_and_the_cache_saves_the_encoder(client: Client) -> None:
    first, second = (client.chat(question(2.0, 100), max_output_tokens=3).usage for _ in range(2))
    assert first.audio_tokens == second.audio_tokens == 50
    assert (first.cached_tokens, second.cached_tokens) == (0, 50)
    wall = {t.service: t.wall_ms for t in first.timings}
    assert all(wall[service] > 0 for service in ("preprocess", "encoder", "decoder"))
    assert first.total_ms >= first.first_token_ms > 0
    assert {t.service: t.compute_ms for t in second.timings}["encoder"] == 0


def test_an_upload_is_asked_about_by_name_until_it_is_deleted(client: Client) -> None:
    inline = client.chat(question(1.0, 101), max_output_tokens=5).text
    uploaded = client.upload(clip(1.0, 101))
    content = [{"type": "audio", "audio": uploaded}, text(TRANSCRIBE)]
    assert client.chat(content, max_output_tokens=5).text == inline
    client.delete_audio(uploaded)
    with pytest.raises(AuricleError) as raised:
        client.chat(content)
    assert raised.value.reason == "AUDIO_NOT_FOUND"


def test_one_trace_runs_through_all_services(client: Client, collector: Collector) -> None:
    client.chat(question(1.0, 102), max_output_tokens=2)
    services = {"auricle-gateway", "auricle-preprocess", "auricle-decoder"}
    assert collector.wait_for(lambda traces: any(services <= seen for seen in traces.values()), 15)


@pytest.mark.parametrize("name", ["gateway", "preprocess", "decoder", "encoder"])
def test_every_service_exports_metrics(platform: RunningPlatform, client: Client, name: str) -> None:
    client.chat(question(0.5, 103), max_output_tokens=2)
    port = getattr(platform.config.ports, f"{name}_metrics")
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as response:
        text = response.read().decode()
    assert ("nv_inference_count" if name == "encoder" else "auricle_rpc_seconds_bucket") in text


@pytest.mark.parametrize("name", ["preprocess", "encoder", "decoder"])
def test_a_killed_service_is_told_as_unavailable_and_comes_back(
    platform: RunningPlatform, client: Client, name: str
) -> None:
    kill(platform, name)
    with pytest.raises(UnavailableError) as raised:
        client.chat(question(1.0, 104), max_output_tokens=2, timeout_seconds=30)
    assert raised.value.retry_after_seconds is not None
    recover(platform, client)
    assert client.chat(question(1.0, 105), max_output_tokens=2).usage.output_tokens > 0


def test_a_decoder_killed_mid_stream_ends_the_stream_with_a_retryable_error(
    platform: RunningPlatform, client: Client
) -> None:
    with (
        pytest.raises(UnavailableError),
        client.stream_chat("Count to one hundred.", max_output_tokens=400) as s,
    ):
        next(s)
        kill(platform, "decoder")
        for _ in s:
            pass
    recover(platform, client)


def test_without_redis_the_platform_answers_all_the_same(platform: RunningPlatform, client: Client) -> None:
    kill(platform, "redis")
    usage = client.chat(question(1.0, 106), max_output_tokens=2).usage
    assert usage.audio_tokens == 25
    assert usage.cached_tokens == 0
    recover(platform, client)


def test_leaving_a_stream_early_frees_the_decoder(platform: RunningPlatform, client: Client) -> None:
    with client.stream_chat("Count from one to one hundred.", max_output_tokens=1000) as stream:
        next(stream)
    deadline = time.monotonic() + 5
    url = f"http://{HOST}:{platform.config.ports.decoder_metrics}/metrics"
    while time.monotonic() < deadline:
        with urllib.request.urlopen(url, timeout=5) as response:
            lines = response.read().decode().splitlines()
        running = [line for line in lines if line.startswith("auricle_decoder_num_requests_running")]
        assert running
        if float(running[0].split()[-1]) == 0:
            return
        time.sleep(0.05)
    pytest.fail("the decoder still works on an answer that nobody reads")
