"""Uploaded recordings in an object store: a local folder, S3, GCS, Azure, or memory for tests.

A recording is two objects, `audios/TENANT/ID.audio` with its bytes and `audios/TENANT/ID.json` with its description.
The description is written last and removed first: without it there is no recording. Both expire by age.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import obstore

from auricle.v1 import audio_pb2
from services.common.errors import InvalidArgument, NotFound
from services.common.object_store import objects_under, open_store, read_chunks, remove, store_errors, write_stream
from services.gateway.quota import Account, Quota
from services.gateway.stored_audio import ROOT, StoredAudio, is_name, new_name

# Uploads that are not yet whole; see services.gateway.resumable. They count for the quota too.
UNFINISHED_ROOT = "uploads"
KEPT = "the uploads"


@dataclass(frozen=True)
class StoreLimits:
    """Limits of the uploads; see GatewaySettings."""

    upload_bytes: int
    quota_bytes: int
    ttl_seconds: float


class AudioStore:
    """Keeps tenants' recordings apart, bounded and for a time.

    Args:
        url: where; file:// makes the folder when it is missing.
        limits: how large, how much, how long.
    """

    def __init__(self, url: str, limits: StoreLimits) -> None:
        self.objects = open_store(url)
        self.limits = limits
        self.quota = Quota(limits.quota_bytes, self._stored_bytes)

    async def save(self, tenant: str, raw_pcm: audio_pb2.RawPcm | None, chunks: AsyncIterator[bytes]) -> StoredAudio:
        """Store the chunks as they come; what fails on the way leaves nothing behind.

        Raises:
            InvalidArgument: no bytes came (AUDIO_EMPTY), or more than the limit (AUDIO_TOO_LARGE).
            ResourceExhausted: the tenant's quota is used up (UPLOAD_QUOTA_EXCEEDED).
            Unavailable: the store failed (STORE_UNAVAILABLE).
        """
        async with self.quota.account(tenant) as account:
            return await self.write(tenant, raw_pcm, Metered(chunks, account, self.limits.upload_bytes))

    async def write(self, tenant: str, raw_pcm: audio_pb2.RawPcm | None, chunks: "Metered") -> StoredAudio:
        """Store what comes in as a recording; see `save`."""
        name, sha256 = new_name(), hashlib.sha256()
        with store_errors(KEPT):
            try:
                await write_stream(self.objects, _path(tenant, name, "audio"), _hashed(chunks, sha256))
                expire_time = datetime.now(UTC) + timedelta(seconds=self.limits.ttl_seconds)
                audio = StoredAudio(name, chunks.size_bytes, sha256.hexdigest(), raw_pcm, expire_time)
                await obstore.put_async(self.objects, _path(tenant, name, "json"), audio.description())
            except BaseException:
                chunks.account.give_back(chunks.size_bytes)
                raise
        return audio

    async def find(self, tenant: str, name: str) -> StoredAudio:
        """The tenant's recording of that name.

        Raises:
            NotFound: there is none, it expired, or it is another tenant's (AUDIO_NOT_FOUND).
            Unavailable: the store failed (STORE_UNAVAILABLE).
        """
        if not is_name(name):
            raise _not_found(name)
        with store_errors(KEPT):
            try:
                found = await obstore.get_async(self.objects, _path(tenant, name, "json"))
                audio = StoredAudio.described(name, bytes(await found.bytes_async()))
            except FileNotFoundError:
                raise _not_found(name) from None
        if audio.expire_time <= datetime.now(UTC):
            raise _not_found(name)
        return audio

    def path(self, tenant: str, name: str) -> str:
        """Where in the store the bytes of a recording are that `find` found."""
        return _path(tenant, name, "audio")

    async def chunks(self, tenant: str, name: str, chunk_bytes: int) -> AsyncIterator[bytes]:
        """The recording's bytes in chunks of at most `chunk_bytes`, never all of it in memory.

        Raises:
            NotFound: it is gone (AUDIO_NOT_FOUND).
            Unavailable: the store failed (STORE_UNAVAILABLE).
        """
        with store_errors(KEPT):
            try:
                async for chunk in read_chunks(self.objects, _path(tenant, name, "audio"), chunk_bytes):
                    yield chunk
            except FileNotFoundError:
                raise _not_found(name) from None

    async def delete(self, tenant: str, name: str) -> None:
        """Remove the recording.

        Raises:
            NotFound: there is none of that name (AUDIO_NOT_FOUND).
            Unavailable: the store failed (STORE_UNAVAILABLE).
        """
        await self.find(tenant, name)
        with store_errors(KEPT):
            for kind in ("json", "audio"):
                await remove(self.objects, _path(tenant, name, kind))

    async def sweep(self) -> int:
        """Remove what is older than its time to live, whoever left it; returns how many objects that were."""
        oldest = datetime.now(UTC) - timedelta(seconds=self.limits.ttl_seconds)
        with store_errors(KEPT):
            objects = await objects_under(self.objects, ROOT)
            expired = [meta["path"] for meta in objects if meta["last_modified"] < oldest]
            for path in sorted(expired, key=lambda path: not path.endswith(".json")):
                await remove(self.objects, path)
        return len(expired)

    async def _stored_bytes(self, tenant: str) -> int:
        with store_errors(KEPT):
            folders = [await objects_under(self.objects, f"{root}/{tenant}") for root in (ROOT, UNFINISHED_ROOT)]
        return sum(meta["size"] for folder in folders for meta in folder)


class Metered:
    """The bytes of one recording as they come: counted for the quota, refused past a limit.

    Args:
        chunks: the bytes.
        account: of the tenant.
        limit_bytes: most bytes of the recording.
        size_bytes: of it that were there before.
    """

    def __init__(
        self, chunks: AsyncIterator[bytes], account: Account, limit_bytes: int, *, size_bytes: int = 0
    ) -> None:
        self._chunks = chunks
        self.account = account
        self._limit_bytes = limit_bytes
        self.size_bytes = size_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            if self.size_bytes + len(chunk) > self._limit_bytes:
                raise InvalidArgument(
                    f"a recording may have at most {self._limit_bytes} bytes",
                    reason="AUDIO_TOO_LARGE",
                    metadata={"limit_bytes": str(self._limit_bytes)},
                )
            self.account.take(len(chunk))
            self.size_bytes += len(chunk)
            yield chunk
        if self.size_bytes == 0:
            raise InvalidArgument("the upload has no bytes", reason="AUDIO_EMPTY")


async def _hashed(chunks: Metered, sha256: "hashlib._Hash") -> AsyncIterator[bytes]:
    async for chunk in chunks:
        # A chunk of 1 MiB takes milliseconds to hash.
        await asyncio.to_thread(sha256.update, chunk)
        yield chunk


def _path(tenant: str, name: str, kind: str) -> str:
    # Tenants and names are of small alphabets (services.common.auth, is_name), so neither can leave its folder.
    return f"{ROOT}/{tenant}/{name.removeprefix(f'{ROOT}/')}.{kind}"


def _not_found(name: str) -> NotFound:
    return NotFound(
        f"there is no recording {name[:80]!r}; it may have expired",
        reason="AUDIO_NOT_FOUND",
        metadata={"name": name[:80]},
    )
