"""API keys: a key names a tenant, and only its hash is stored.

A key reads `auricle.KEY_ID.SECRET`, the secret being 32 random bytes in base64url: with that much randomness a plain
SHA-256 needs neither salt nor stretching. A key file has one line `TENANT KEY_ID SHA256HEX` for each key; empty lines
and lines that begin with # say nothing. The file is read again when it changes.
"""

import contextvars
import hashlib
import hmac
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog

from services.common import telemetry
from services.common.errors import InvalidArgument, Unauthenticated
from services.common.interceptors import Continuation

LOCAL_TENANT = "local"
SECRET_BYTES = 32
OPEN_METHODS = ("/grpc.health.", "/grpc.reflection.")
# A tenant becomes part of paths in the object store, hence this small alphabet.
_TENANT = re.compile(r"[A-Za-z0-9_-]{1,63}")
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")

_tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default=LOCAL_TENANT)


def current_tenant() -> str:
    """The tenant of the current call; "local" where no keys are asked for."""
    return _tenant.get()


def create_key(tenant: str) -> tuple[str, str]:
    """A new key for the tenant and the line of the key file that lets it in. The key itself is kept nowhere.

    Raises:
        InvalidArgument: the tenant's name is not 1 to 63 letters, digits, - and _.
    """
    if not _TENANT.fullmatch(tenant):
        raise InvalidArgument.of_field("tenant", "must be 1 to 63 letters, digits, - and _")
    key_id = secrets.token_hex(6)
    key = f"auricle.{key_id}.{secrets.token_urlsafe(SECRET_BYTES)}"
    return key, f"{tenant} {key_id} {_digest(key)}"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@dataclass(frozen=True)
class _Entry:
    tenant: str
    sha256_hex: str


class KeyFile:
    """The keys of a file, read again whenever the file changes.

    Raises:
        ValueError: a line of the file is not a key line, when first read. Later a broken or vanished file is logged and
            the keys that were read last stay valid, so that a slip of the pen locks nobody out.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = self._file_state()
        self._entries = _parse(path.read_text())

    def tenant_of(self, key: str) -> str | None:
        """The tenant that the key names, or None when the key is not in the file."""
        self._reload_when_changed()
        _, _, rest = key.partition(".")
        entry = self._entries.get(rest.partition(".")[0])
        if entry is None or not hmac.compare_digest(_digest(key), entry.sha256_hex):
            return None
        return entry.tenant

    def _file_state(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _reload_when_changed(self) -> None:
        state = self._file_state()
        if state == self._state:
            return
        self._state = state
        try:
            self._entries = _parse(self._path.read_text())
        except (OSError, ValueError) as error:
            telemetry.logger().error("key file not read, the last keys stay", path=str(self._path), error=str(error))
        else:
            telemetry.logger().info("key file read", path=str(self._path), keys=len(self._entries))


def _parse(text: str) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) != 3 or not all(
            p.fullmatch(f) for p, f in zip((_TENANT, _KEY_ID, _SHA256_HEX), fields, strict=True)
        ):
            raise ValueError(f"line {number} is not `TENANT KEY_ID SHA256HEX`")
        tenant, key_id, sha256_hex = fields
        if key_id in entries:
            raise ValueError(f"line {number} repeats the key id {key_id}")
        entries[key_id] = _Entry(tenant, sha256_hex)
    return entries


class ApiKeyInterceptor(grpc.aio.ServerInterceptor):
    """Lets in calls that bring `authorization: Bearer KEY` of a known key and binds their tenant.

    Health and reflection stay open. A refused call ends before its message is read.
    """

    def __init__(self, keys: KeyFile) -> None:
        self._keys = keys

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        if str(handler_call_details.method).startswith(OPEN_METHODS):
            return await continuation(handler_call_details)
        tenant = self._keys.tenant_of(_bearer(handler_call_details.invocation_metadata))
        if tenant is None:
            # On the wire every kind of call is a stream of messages each way, so one refusal fits all.
            return grpc.stream_stream_rpc_method_handler(_refuse)
        _tenant.set(tenant)
        structlog.contextvars.bind_contextvars(tenant=tenant)
        return await continuation(handler_call_details)


def _bearer(metadata: Any) -> str:
    for name, value in metadata or ():
        if name == "authorization" and isinstance(value, str):
            scheme, _, key = value.partition(" ")
            return key.strip() if scheme.lower() == "bearer" else ""
    return ""


async def _refuse(_requests: Any, _context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
    raise Unauthenticated("a valid API key is needed: send metadata `authorization: Bearer KEY`")
    yield  # a stream of answers, of which there are none
