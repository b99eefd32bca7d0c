"""Channels between the services: message limits, keepalive, TLS, retries on UNAVAILABLE, traces and request ids."""

import json
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.instrumentation.grpc import aio_client_interceptors

from services.common.interceptors import REQUEST_ID_KEY, request_id
from services.common.server import channel_limits

# gRPC retries only calls that no server has begun to answer, so a retry can never repeat an answer (gRFC A6).
RETRY_POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def _options(max_message_bytes: int) -> list[tuple[str, Any]]:
    service_config = {
        # Each call goes to the next of the addresses that the name stands for.
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": [{}], "retryPolicy": RETRY_POLICY}],
    }
    return [
        *channel_limits(max_message_bytes),
        ("grpc.service_config", json.dumps(service_config)),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]


def connect(address: str, *, max_message_bytes: int, tls_ca: Path | None = None) -> grpc.aio.Channel:
    """Open a channel to a service at `host:port`; with `tls_ca` (PEM) it is encrypted and the server verified.

    Where the name stands for several servers, calls take them in turn, and pass over those that are gone.
    """
    interceptors = aio_client_interceptors()
    options = _options(max_message_bytes)
    if tls_ca is None:
        return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)
    credentials = grpc.ssl_channel_credentials(tls_ca.read_bytes())
    return grpc.aio.secure_channel(address, credentials, options=options, interceptors=interceptors)


def call_metadata() -> tuple[tuple[str, str], ...]:
    """Metadata to send with a call made on behalf of the current one."""
    current = request_id()
    return ((REQUEST_ID_KEY, current),) if current else ()
