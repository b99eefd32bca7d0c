"""Where the platform is and how to call it: address, key, TLS, deadline, retries.

Arguments win over environment variables, and those over the defaults.
"""

import asyncio
import json
import math
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from auricle._errors import CancelledError, from_rpc_error
from auricle._version import __version__

DEFAULT_ADDRESS = "127.0.0.1:8400"
DEFAULT_TIMEOUT_SECONDS = 120.0
DEFAULT_MAX_MESSAGE_BYTES = 64 * 2**20
REQUEST_ID_KEY = "x-request-id"

# Up to three seconds in all. gRPC repeats only calls that no server began to answer (gRFC A6): nothing is done twice.
_RETRY_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "auricle.v1.AssistantService"}, {"service": "auricle.v1.AnalysisJobService"}],
            "retryPolicy": _RETRY_POLICY,
        }
    ]
}


@dataclass(frozen=True)
class TLSConfig:
    """Certificates of an encrypted connection, all PEM files.

    Attributes:
        ca: authorities that may have signed the server's certificate; None takes the public ones.
        cert: this client's certificate chain, where the server asks for one (mTLS).
        key: private key of `cert`.
    """

    ca: str | os.PathLike[str] | None = None
    cert: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client certificate needs both cert and key")

    def credentials(self) -> grpc.ChannelCredentials:
        """The credentials of a channel. Raises OSError when a file cannot be read."""
        ca, key, cert = (None if path is None else Path(path).read_bytes() for path in (self.ca, self.key, self.cert))
        return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)


@dataclass(frozen=True)
class Connection:
    """How to reach the gateway; shared by both clients, holds nothing open."""

    address: str
    api_key: str | None = field(repr=False)
    tls: TLSConfig | None
    timeout_seconds: float
    max_message_bytes: int
    metadata: tuple[tuple[str, str], ...] = ()

    @classmethod
    def resolve(
        cls,
        address: str | None,
        api_key: str | None,
        tls: bool | TLSConfig | None,
        timeout_seconds: float,
        max_message_bytes: int,
        metadata: Mapping[str, str] | None = None,
    ) -> "Connection":
        """Fill what is None from AURICLE_ADDRESS, AURICLE_API_KEY and AURICLE_TLS_CA. Raises ValueError."""
        address = address or os.environ.get("AURICLE_ADDRESS") or DEFAULT_ADDRESS
        if "://" in address and address.partition("://")[0] in ("http", "https"):
            raise ValueError(f"the address is host:port without {address.partition('://')[0]}://, not {address!r}")
        api_key = api_key or os.environ.get("AURICLE_API_KEY") or None
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("the API key has characters that are not printable ASCII")
        _check_timeout(timeout_seconds)
        further = tuple((metadata or {}).items())
        return cls(address, api_key, _resolve_tls(tls), timeout_seconds, max_message_bytes, further)

    def channel_arguments(self, kept_bytes: int | None = None) -> dict[str, Any]:
        """Arguments for grpc's channel functions, apart from the credentials.

        Args:
            kept_bytes: what is kept of a call, to be sent again; one that sent more is not repeated, and with 0 none
                is. None keeps any message whole.
        """
        options = [
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.per_rpc_retry_buffer_size", self.max_message_bytes if kept_bytes is None else kept_bytes),
            ("grpc.enable_retries", int(kept_bytes != 0)),
            ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.primary_user_agent", f"auricle-python/{__version__}"),
        ]
        return {"target": self.address, "options": options}

    def sync_channel(self, kept_bytes: int | None = None) -> grpc.Channel:
        """A channel for blocking calls."""
        arguments = self.channel_arguments(kept_bytes)
        if self.tls is None:
            return grpc.insecure_channel(**arguments)
        return grpc.secure_channel(credentials=self.tls.credentials(), **arguments)

    def async_channel(self) -> grpc.aio.Channel:
        """A channel for the running event loop."""
        arguments = self.channel_arguments()
        if self.tls is None:
            return grpc.aio.insecure_channel(**arguments)
        return grpc.aio.secure_channel(credentials=self.tls.credentials(), **arguments)

    def call(self, timeout_seconds: float | None = None) -> "Call":
        """Prepare one call."""
        if timeout_seconds is not None:
            _check_timeout(timeout_seconds)
        return Call(self, self.timeout_seconds if timeout_seconds is None else timeout_seconds)


class Call:
    """One call: its request id, what to pass to gRPC, and a context in which gRPC's errors become ours."""

    def __init__(self, connection: Connection, timeout_seconds: float) -> None:
        self.request_id = uuid.uuid4().hex
        self._address = connection.address
        metadata = [(REQUEST_ID_KEY, self.request_id), *connection.metadata]
        if connection.api_key:
            metadata.append(("authorization", f"Bearer {connection.api_key}"))
        self.arguments: dict[str, Any] = {"timeout": timeout_seconds, "metadata": tuple(metadata)}

    def __enter__(self) -> "Call":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, grpc.RpcError):
            raise from_rpc_error(error, address=self._address, request_id=self.request_id) from error
        # grpc.aio reports a call that the server cancelled as if the caller's own task had been cancelled.
        if isinstance(error, asyncio.CancelledError) and not _task_is_cancelled():
            raise CancelledError(f"{self._address} cancelled the call", request_id=self.request_id) from error


def _task_is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _check_timeout(seconds: float) -> None:
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ValueError(f"timeout_seconds must be above 0 and finite, not {seconds!r}")


def _resolve_tls(tls: bool | TLSConfig | None) -> TLSConfig | None:
    if isinstance(tls, TLSConfig):
        return tls
    ca = os.environ.get("AURICLE_TLS_CA") or None
    if tls or (tls is None and ca):
        return TLSConfig(ca=ca)
    return None
