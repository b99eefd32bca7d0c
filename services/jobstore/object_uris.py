"""Recordings in object stores that the platform is allowed to read, such as s3://bucket/key.

What may be read is named by prefixes. `{tenant}` in a prefix is the caller's tenant, so that each reads its own folder.
Credentials are the platform's, from the store's usual environment variables.
"""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import obstore
from obstore.exceptions import PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from services.common.errors import FailedPrecondition, InvalidArgument, NotFound
from services.common.object_store import read_chunks, store_errors

SCHEMES = ("s3", "gs", "az", "abfs", "abfss", "file")
MAX_URI_CHARS = 2_048
_PREFIX = re.compile(rf"({'|'.join(SCHEMES)})://\S*/")
_CHUNK_BYTES = 2**18


def is_prefix(text: str) -> bool:
    """Whether a setting names a folder of an object store; it ends with /, so that no neighbor begins with it."""
    return _PREFIX.fullmatch(text) is not None


class ObjectUris:
    """Reads objects by URI.

    Args:
        prefixes: of the URIs that may be read.
    """

    def __init__(self, prefixes: Sequence[str]) -> None:
        self._prefixes = tuple(prefixes)

    async def size_bytes(self, tenant: str, uri: str, field: str) -> int:
        """How large the object is.

        Raises:
            InvalidArgument: the tenant may not name it (URI_NOT_ALLOWED).
            NotFound: it is not there (AUDIO_NOT_FOUND).
            FailedPrecondition: the platform may not read it (URI_NOT_READABLE).
            Unavailable: the store failed (STORE_UNAVAILABLE).
        """
        store, key = self._locate(tenant, uri, field)
        with _errors(field):
            return int((await obstore.head_async(store, key))["size"])

    async def chunks(self, tenant: str, uri: str, field: str) -> AsyncIterator[bytes]:
        """The object's bytes, never all of it in memory; raises what `size_bytes` raises."""
        store, key = self._locate(tenant, uri, field)
        with _errors(field):
            async for chunk in read_chunks(store, key, _CHUNK_BYTES):
                yield chunk

    def _locate(self, tenant: str, uri: str, field: str) -> tuple[Any, str]:
        """The store of the folder, and the object's place in it."""
        for prefix in (prefix.replace("{tenant}", tenant) for prefix in self._prefixes):
            key = uri.removeprefix(prefix)
            if key != uri and len(uri) <= MAX_URI_CHARS and _is_plain(key):
                return _store(prefix), key
        raise InvalidArgument.of_field(field, "is not below what this platform may read", reason="URI_NOT_ALLOWED")


def _is_plain(key: str) -> bool:
    """Whether nothing in the key could mean another place than its letters say."""
    return key.isprintable() and "\\" not in key and not {"", ".", ".."} & set(key.split("/"))


@lru_cache(maxsize=128)
def _store(prefix: str) -> Any:
    return from_url(prefix)


@contextmanager
def _errors(field: str) -> Iterator[None]:
    with store_errors("recordings"):
        try:
            yield
        except FileNotFoundError:
            raise NotFound(f"{field}: there is no such object", reason="AUDIO_NOT_FOUND") from None
        except (PermissionDeniedError, UnauthenticatedError):
            raise FailedPrecondition(f"{field}: the platform may not read it", reason="URI_NOT_READABLE") from None
