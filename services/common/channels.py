"""Channels between the services: message limits, keepalive, TLS, retries on UNAVAILABLE, traces and request ids."""

import json
from typing import Any

import grpc
from opentelemetry.instrumentation.grpc import aio_client_interceptors

from services.common.interceptors import REQUEST_ID_KEY, request_id
from services.common.server import channel_limits
from services.common.tls import ClientTls

# gRPC retries only calls that no server has begun to answer, so a retry can never repeat an answer (gRFC A6).
RETRY_POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def _options(max_message_bytes: int) -> list[tuple[str, Any]]:
    service_config = {"methodConfig": [{"name": [{}], "retryPolicy": RETRY_POLICY}]}
    return [
        *channel_limits(max_message_bytes),
        ("grpc.service_config", json.dumps(service_config)),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]


def tls_name_options(tls_name: str | None) -> list[tuple[str, Any]]:
    """gRPC options for a server whose certificate bears another name than its address; none for None."""
    return [("grpc.ssl_target_name_override", tls_name)] if tls_name else []


def connect(
    address: str, *, max_message_bytes: int, tls: ClientTls | None = None, tls_name: str | None = None
) -> grpc.aio.Channel:
    """Open a channel to a service at `host:port`; with `tls` it is encrypted and the server verified.

    Its certificate must bear `tls_name`, or the address's name where that is None.
    """
    interceptors = aio_client_interceptors()
    options = [*_options(max_message_bytes), *tls_name_options(tls_name)]
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(address, tls.credentials(), options=options, interceptors=interceptors)


def call_metadata() -> tuple[tuple[str, str], ...]:
    """Metadata to send with a call made on behalf of the current one."""
    current = request_id()
    return ((REQUEST_ID_KEY, current),) if current else ()
