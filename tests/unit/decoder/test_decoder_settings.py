"""Settings come from the environment, and every mistake is told."""

import json

import pytest

from services.common.settings import load
from services.decoder.build import engine_config
from services.decoder.linear import Weights
from services.decoder.settings import DecoderSettings
from services.decoder.vllm_settings import check_arguments

pytestmark = pytest.mark.unit


def test_defaults_serve_the_embedded_model_on_the_decoders_port() -> None:
    settings = load(DecoderSettings)
    assert (settings.checkpoint, settings.port, settings.metrics_port) == ("auricle-mini", 8402, 8412)
    assert settings.max_message_bytes == 128 * 2**20


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"DTYPE": "fp8", "THREADS": "0", "DEVICE": "tpu", "MAX_RUNNING": "x"}.items():
        monkeypatch.setenv(f"AURICLE_DECODER_{name}", value)
    with pytest.raises(SystemExit):
        load(DecoderSettings)
    told = capsys.readouterr().err
    assert all(name in told for name in ("DTYPE", "THREADS", "DEVICE", "MAX_RUNNING"))


def test_a_step_holds_every_running_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURICLE_DECODER_MAX_RUNNING", "64")
    monkeypatch.setenv("AURICLE_DECODER_STEP_TOKENS", "32")
    with pytest.raises(SystemExit):
        load(DecoderSettings)


def test_rounded_weights_are_for_fp32_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AURICLE_DECODER_WEIGHTS", "int8")
    assert engine_config(load(DecoderSettings)).weights is Weights.INT8
    monkeypatch.setenv("AURICLE_DECODER_DTYPE", "bf16")
    with pytest.raises(SystemExit):
        load(DecoderSettings)
    assert "dtype fp32" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (
            {"ENGINE": "vllm", "VLLM_ARGUMENTS": '{"max_num_seqs": 4, "model": "x"}'},
            "max_num_seqs (set AURICLE_DECODER_MAX",
        ),
        ({"ENGINE": "vllm", "VLLM_ARGUMENTS": "tensor_parallel_size=2"}, "VLLM_ARGUMENTS"),
        ({"ENGINE": "vllm", "WEIGHTS": "int8"}, "quantization"),
        ({"VLLM_ARGUMENTS": '{"tensor_parallel_size": 2}'}, "for the engine vllm"),
        ({"ENGINE": "sglang"}, "ENGINE"),
    ],
)
def test_vllm_is_given_only_what_is_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], told: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"AURICLE_DECODER_{name}", value)
    with pytest.raises(SystemExit):
        load(DecoderSettings)
    assert told in capsys.readouterr().err


def test_arguments_of_vllm_come_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"tensor_parallel_size": 2, "distributed_executor_backend": "ray", "quantization": "fp8"}
    monkeypatch.setenv("AURICLE_DECODER_ENGINE", "vllm")
    monkeypatch.setenv("AURICLE_DECODER_VLLM_ARGUMENTS", json.dumps(given))
    assert load(DecoderSettings).vllm_arguments == given


def test_arguments_that_vllm_does_not_know_are_all_named() -> None:
    with pytest.raises(ValueError, match=r"dtype \(set .*\), size \(vLLM knows .*\), type \(vLLM"):
        check_arguments({"type": 1, "size": 2, "seed": 3, "dtype": "half"}, known={"seed", "dtype"})
