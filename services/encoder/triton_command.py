"""How Triton is told to serve the encoder, the same on one machine and in a container."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Whoever may register shared memory or load models runs code in the server; nobody on the network may.
_RESTRICTED = "shared-memory,model-repository,trace,logging"
# The Python backend starts with this much memory for tensors and grows by it; 16 clips of 30 s take 43 MB.
SHARED_MEMORY_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Listening:
    """Where Triton listens.

    Attributes:
        host: address.
        grpc_port: port of the KServe v2 gRPC service.
        http_port: port of health checks over HTTP; inference is refused there.
        metrics_port: port of Prometheus metrics.
    """

    host: str
    grpc_port: int
    http_port: int
    metrics_port: int


def triton_command(
    server: Path | str,
    repository: Path,
    listening: Listening,
    *,
    exit_timeout_seconds: int,
    shared_memory_prefix: str,
    traces_url: str | None = None,
    gpu_metrics: bool = False,
    further: Mapping[str, object] | None = None,
) -> list[str]:
    """Triton's command line.

    Args:
        server: the tritonserver program.
        repository: Triton's model repository.
        listening: where to listen.
        exit_timeout_seconds: time that requests in flight have after SIGTERM.
        shared_memory_prefix: of the names in /dev/shm, one for each server of a machine.
        traces_url: OTLP over HTTP address that spans are sent to; none are made without it.
        gpu_metrics: whether to tell what the GPUs do.
        further: options by name.
    """
    options: dict[str, object] = {
        "model-repository": repository,
        "model-control-mode": "none",
        "strict-readiness": "true",
        "disable-auto-complete-config": None,
        "exit-timeout-secs": exit_timeout_seconds,
        "grpc-address": listening.host,
        "grpc-port": listening.grpc_port,
        "http-address": listening.host,
        "http-port": listening.http_port,
        "metrics-address": listening.host,
        "metrics-port": listening.metrics_port,
        "allow-gpu-metrics": str(gpu_metrics).lower(),
        "log-format": "ISO8601",
        **(further or {}),
    }
    repeated = [
        f"--backend-config=python,shm-default-byte-size={SHARED_MEMORY_BYTES}",
        f"--backend-config=python,shm-growth-byte-size={SHARED_MEMORY_BYTES}",
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix}",
        f"--grpc-restricted-protocol={_RESTRICTED}:admin={secrets.token_hex(16)}",
        f"--http-restricted-api={_RESTRICTED},inference:admin={secrets.token_hex(16)}",
        *(f"--trace-config={setting}" for setting in _trace_settings(traces_url)),
    ]
    given = [f"--{name}" if value is None else f"--{name}={value}" for name, value in options.items()]
    return [str(server), *given, *repeated]


def _trace_settings(traces_url: str | None) -> list[str]:
    if traces_url is None:
        return []
    resource = "opentelemetry,resource=service.name=auricle-encoder"
    url = f"opentelemetry,url={traces_url}"
    delay = "opentelemetry,bsp_schedule_delay=1000"
    return ["mode=opentelemetry", "level=TIMESTAMPS", "rate=1", url, delay, resource]
