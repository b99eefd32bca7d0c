"""What is stored of recordings whose uploads are not complete, and where.

`uploads/TENANT/UPLOAD/OFFSET` is a part: the bytes of the file from OFFSET on. `uploads/TENANT/UPLOAD/complete` names
the recording that was made of the parts. Both are written only where nothing is yet, so of two streams that send the
same upload at once, as after a connection that died without a word, one wins and nothing is mixed. Parts that follow
each other from 0 on have been received; any behind a gap do not count.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import obstore

from services.common.object_store import objects_under, read_chunks, remove, store_errors, write_new
from services.gateway.audio_store import KEPT, UNFINISHED_ROOT

# Kept in memory of each upload before it is stored. What a connection that breaks had sent of a part is stored too.
PART_BYTES = 4 * 2**20
_COMPLETE = "complete"


@dataclass(frozen=True)
class UploadState:
    """How far an upload is.

    Attributes:
        received_bytes: of the parts without a gap.
        parts: paths of these parts, in order.
        others: paths of all else that is kept under its name.
        audio_name: the recording, once it is complete.
        expire_time: when all of it is removed; None when there is nothing.
    """

    received_bytes: int = 0
    parts: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    audio_name: str | None = None
    expire_time: datetime | None = None


class UploadParts:
    """Parts of uploads in an object store.

    Args:
        objects: the store.
        ttl_seconds: life of an upload after its first byte.
    """

    def __init__(self, objects: Any, ttl_seconds: float) -> None:
        self._objects = objects
        self._ttl = timedelta(seconds=ttl_seconds)

    async def state(self, tenant: str, upload_id: str) -> UploadState:
        """How far the upload is."""
        folder = f"{UNFINISHED_ROOT}/{tenant}/{upload_id}"
        with store_errors(KEPT):
            objects = sorted(await objects_under(self._objects, folder), key=lambda meta: meta["path"])
            audio_name = await self._audio_name(f"{folder}/{_COMPLETE}")
        if not objects:
            return UploadState()
        expire_time = min(meta["last_modified"] for meta in objects) + self._ttl
        parts, received_bytes = [], 0
        for meta in objects:
            if expire_time > datetime.now(UTC) and meta["path"] == f"{folder}/{received_bytes:015d}":
                parts.append(meta["path"])
                received_bytes += meta["size"]
        others = tuple(meta["path"] for meta in objects if meta["path"] not in parts)
        live_name = audio_name if expire_time > datetime.now(UTC) else None
        return UploadState(received_bytes, tuple(parts), others, live_name, expire_time)

    async def add(self, tenant: str, upload_id: str, offset: int, data: bytes) -> bool:
        """Store a part; False when another stream has stored one there."""
        with store_errors(KEPT):
            return await write_new(self._objects, f"{UNFINISHED_ROOT}/{tenant}/{upload_id}/{offset:015d}", data)

    async def read(self, state: UploadState) -> AsyncIterator[bytes]:
        """The bytes of the parts."""
        for path in state.parts:
            async for chunk in read_chunks(self._objects, path, PART_BYTES):
                yield chunk

    async def complete(self, tenant: str, upload_id: str, audio_name: str) -> bool:
        """Note the recording that the upload became; False when there is one already."""
        path = f"{UNFINISHED_ROOT}/{tenant}/{upload_id}/{_COMPLETE}"
        with store_errors(KEPT):
            return await write_new(self._objects, path, json.dumps({"name": audio_name}).encode())

    async def drop(self, paths: tuple[str, ...]) -> None:
        """Remove objects, the last first, so that what is left at any time is a beginning."""
        with store_errors(KEPT):
            for path in sorted(paths, reverse=True):
                await remove(self._objects, path)

    async def sweep(self) -> int:
        """Remove uploads whose time is over; returns how many objects that were."""
        with store_errors(KEPT):
            objects = sorted(await objects_under(self._objects, UNFINISHED_ROOT), key=lambda meta: meta["path"])
        removed = 0
        for _, group in groupby(objects, key=lambda meta: meta["path"].rpartition("/")[0]):
            upload = list(group)
            if min(meta["last_modified"] for meta in upload) + self._ttl < datetime.now(UTC):
                await self.drop(tuple(meta["path"] for meta in upload))
                removed += len(upload)
        return removed

    async def _audio_name(self, path: str) -> str | None:
        try:
            found = await obstore.get_async(self._objects, path)
        except FileNotFoundError:
            return None
        return str(json.loads(bytes(await found.bytes_async()))["name"])
