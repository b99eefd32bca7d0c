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

from services.common.errors import InvalidArgument, Unauthenticated
from services.common.interceptors import Continuation
from services.common.watched_file import WatchedFile, entries_of

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


def check_tenant(tenant: str) -> None:
    """Raise InvalidArgument unless the tenant's name is 1 to 63 letters, digits, - and _."""
    if not _TENANT.fullmatch(tenant):
        raise InvalidArgument.of_field("tenant", "must be 1 to 63 letters, digits, - and _")


def create_key(tenant: str) -> tuple[str, str]:
    """A new key for the tenant and the line of the key file that lets it in. The key itself is kept nowhere.

    Raises:
        InvalidArgument: the tenant's name is not 1 to 63 letters, digits, - and _.
    """
    check_tenant(tenant)
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
        ValueError, OSError: the file cannot be read or a line of it is wrong; see WatchedFile.
    """

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, _parse, "key file")

    def tenant_of(self, key: str) -> str | None:
        """The tenant that the key names, or None when the key is not in the file."""
        _, _, rest = key.partition(".")
        entry = self._file.content.get(rest.partition(".")[0])
        if entry is None or not hmac.compare_digest(_digest(key), entry.sha256_hex):
            return None
        return entry.tenant


def _parse(text: str) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for number, fields in entries_of(text):
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
