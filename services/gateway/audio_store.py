"""Uploaded recordings in an object store: a local folder, S3, GCS, Azure, or memory for tests.

A recording is two objects, `audios/TENANT/ID.audio` with its bytes and `audios/TENANT/ID.json` with its description.
The description is written last and removed first: without it there is no recording. Both expire by age.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from auricle.v1 import audio_pb2
from services.common import telemetry
from services.common.errors import InvalidArgument, NotFound, Unavailable
from services.gateway.quota import Account, Quota
from services.gateway.stored_audio import ROOT, StoredAudio, is_name, new_name

# Parts of an upload to the store, and how many of them are in memory at once.
_PART_BYTES = 5 * 2**20
_PARTS_AT_ONCE = 2


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
        local = obstore.parse_scheme(url) == "local"
        self._store = from_url(url, mkdir=True) if local else from_url(url)
        self._limits = limits
        self._quota = Quota(limits.quota_bytes, self._stored_bytes)

    async def save(self, tenant: str, raw_pcm: audio_pb2.RawPcm | None, chunks: AsyncIterator[bytes]) -> StoredAudio:
        """Store the chunks as they come; what fails on the way leaves nothing behind.

        Raises:
            InvalidArgument: no bytes came (AUDIO_EMPTY), or more than the limit (AUDIO_TOO_LARGE).
            ResourceExhausted: the tenant's quota is used up (UPLOAD_QUOTA_EXCEEDED).
            Unavailable: the store failed (STORE_UNAVAILABLE).
        """
        name = new_name()
        with _store_errors():
            async with self._quota.account(tenant) as account:
                upload = _Upload(chunks, account, self._limits.upload_bytes)
                try:
                    await obstore.put_async(
                        self._store,
                        _path(tenant, name, "audio"),
                        upload.metered(),
                        chunk_size=_PART_BYTES,
                        max_concurrency=_PARTS_AT_ONCE,
                    )
                    expire_time = datetime.now(UTC) + timedelta(seconds=self._limits.ttl_seconds)
                    audio = StoredAudio(name, upload.size_bytes, upload.sha256.hexdigest(), raw_pcm, expire_time)
                    await obstore.put_async(self._store, _path(tenant, name, "json"), audio.description())
                except BaseException:
                    account.give_back(upload.size_bytes)
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
        with _store_errors():
            try:
                found = await obstore.get_async(self._store, _path(tenant, name, "json"))
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
        with _store_errors():
            try:
                found = await obstore.get_async(self._store, _path(tenant, name, "audio"))
            except FileNotFoundError:
                raise _not_found(name) from None
            async for block in found.stream(min_chunk_size=chunk_bytes):
                view = memoryview(block)
                for start in range(0, len(view), chunk_bytes):
                    yield bytes(view[start : start + chunk_bytes])

    async def delete(self, tenant: str, name: str) -> None:
        """Remove the recording.

        Raises:
            NotFound: there is none of that name (AUDIO_NOT_FOUND).
            Unavailable: the store failed (STORE_UNAVAILABLE).
        """
        await self.find(tenant, name)
        with _store_errors():
            await self._remove(_path(tenant, name, "json"))
            await self._remove(_path(tenant, name, "audio"))

    async def sweep(self) -> int:
        """Remove what is older than its time to live, whoever left it; returns how many objects that were."""
        oldest = datetime.now(UTC) - timedelta(seconds=self._limits.ttl_seconds)
        with _store_errors():
            objects = [meta async for batch in obstore.list(self._store, ROOT) for meta in batch]
            expired = [meta["path"] for meta in objects if meta["last_modified"] < oldest]
            for path in sorted(expired, key=lambda path: not path.endswith(".json")):
                await self._remove(path)
        return len(expired)

    async def sweep_regularly(self, interval_seconds: float) -> None:
        """Sweep for ever; a store that fails is tried again the next time."""
        while True:
            try:
                removed = await self.sweep()
                if removed:
                    telemetry.logger().info("expired uploads removed", objects=removed)
            except Unavailable as error:
                telemetry.logger().warning("sweep failed", error=str(error.__cause__))
            await asyncio.sleep(interval_seconds)

    async def _stored_bytes(self, tenant: str) -> int:
        batches = obstore.list(self._store, f"{ROOT}/{tenant}")
        return sum([meta["size"] async for batch in batches for meta in batch])

    async def _remove(self, path: str) -> None:
        try:
            await obstore.delete_async(self._store, path)
        except FileNotFoundError:
            telemetry.logger().debug("already removed by another", path=path)


class _Upload:
    """The bytes of one upload on their way into the store: counted, hashed, bounded."""

    def __init__(self, chunks: AsyncIterator[bytes], account: Account, limit_bytes: int) -> None:
        self._chunks = chunks
        self._account = account
        self._limit_bytes = limit_bytes
        self.size_bytes = 0
        self.sha256 = hashlib.sha256()

    async def metered(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            if self.size_bytes + len(chunk) > self._limit_bytes:
                raise InvalidArgument(
                    f"an upload may have at most {self._limit_bytes} bytes",
                    reason="AUDIO_TOO_LARGE",
                    metadata={"limit_bytes": str(self._limit_bytes)},
                )
            self._account.take(len(chunk))
            self.size_bytes += len(chunk)
            # A chunk of 1 MiB takes milliseconds to hash.
            await asyncio.to_thread(self.sha256.update, chunk)
            yield chunk
        if self.size_bytes == 0:
            raise InvalidArgument("the upload has no bytes", reason="AUDIO_EMPTY")


def _path(tenant: str, name: str, kind: str) -> str:
    # Tenants and names are of small alphabets (services.common.auth, is_name), so neither can leave its folder.
    return f"{ROOT}/{tenant}/{name.removeprefix(f'{ROOT}/')}.{kind}"


def _not_found(name: str) -> NotFound:
    return NotFound(
        f"there is no recording {name[:80]!r}; it may have expired",
        reason="AUDIO_NOT_FOUND",
        metadata={"name": name[:80]},
    )


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        telemetry.logger().error("object store", error=f"{type(error).__name__}: {error}")
        raise Unavailable(
            "the store of the uploads failed", reason="STORE_UNAVAILABLE", retry_after_seconds=1.0
        ) from error
