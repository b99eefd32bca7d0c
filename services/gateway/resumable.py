"""Uploads that may break off and go on where they ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from auricle.v1 import assistant_pb2
from services.common.errors import AlreadyExists, AuricleError, FailedPrecondition, InvalidArgument, NotFound
from services.gateway.audio_store import AudioStore, Metered
from services.gateway.ids import uuid_hex
from services.gateway.quota import Account
from services.gateway.stored_audio import StoredAudio
from services.gateway.upload_parts import PART_BYTES, UploadParts, UploadState


@dataclass(frozen=True)
class UploadProgress:
    """What a caller is told of an upload.

    Attributes:
        received_bytes: where it goes on.
        audio: the recording, once it is complete.
        expire_time: when what was received is removed.
    """

    received_bytes: int
    audio: StoredAudio | None
    expire_time: datetime


class ResumableUploads:
    """Uploads that carry an `upload_id`. What came stays, until the recording is whole or its time is over.

    Args:
        audios: where whole recordings go, with the limits that hold for parts too.
    """

    def __init__(self, audios: AudioStore) -> None:
        self._audios = audios
        self._parts = UploadParts(audios.objects, audios.limits.ttl_seconds)

    async def sweep(self) -> int:
        """Remove uploads that nobody completed in time; returns how many objects that were."""
        return await self._parts.sweep()

    async def progress(self, tenant: str, upload_id: str) -> UploadProgress:
        """How far an upload has come.

        Raises:
            InvalidArgument: `upload_id` is no UUID.
            NotFound: nothing is stored of it (UPLOAD_NOT_FOUND).
            Unavailable: the store failed (STORE_UNAVAILABLE).
        """
        state = await self._parts.state(tenant, _checked_id("upload_id", upload_id))
        audio = await self._audio(tenant, state)
        if state.expire_time is None or not (audio or state.received_bytes):
            raise NotFound("nothing is stored of this upload; begin at 0", reason="UPLOAD_NOT_FOUND")
        return UploadProgress(audio.size_bytes if audio else state.received_bytes, audio, state.expire_time)

    async def save(
        self, tenant: str, config: assistant_pb2.UploadAudioConfig, chunks: AsyncIterator[bytes]
    ) -> StoredAudio:
        """Store the chunks from `config.offset_bytes` on; their end completes the recording.

        An upload that broke off after its last byte is completed by a stream without chunks.

        Raises:
            InvalidArgument: `upload_id` or `offset_bytes` is wrong, no bytes came (AUDIO_EMPTY) or more than the limit
                (AUDIO_TOO_LARGE).
            FailedPrecondition: the upload stands elsewhere (UPLOAD_OFFSET_MISMATCH, with `received_bytes`), or ended
                before its size (UPLOAD_INCOMPLETE); what came is kept.
            AlreadyExists: it is complete (UPLOAD_COMPLETE).
            ResourceExhausted: the tenant's quota is used up (UPLOAD_QUOTA_EXCEEDED).
            Unavailable: the store failed (STORE_UNAVAILABLE).
        """
        upload_id, offset = _checked_id("config.upload_id", config.upload_id), config.offset_bytes
        state = await self._parts.state(tenant, upload_id)
        if audio := await self._audio(tenant, state):
            return _completed(audio, offset)
        if offset != state.received_bytes:
            raise _elsewhere(state)
        await self._parts.drop(state.others)
        async with self._audios.quota.account(tenant) as account:
            incoming = Metered(chunks, account, self._audios.limits.upload_bytes, size_bytes=offset)
            await self._receive(tenant, upload_id, incoming)
        state = await self._parts.state(tenant, upload_id)
        if state.received_bytes != incoming.size_bytes:
            raise _elsewhere(state)
        return await self._complete(tenant, upload_id, state, config)

    async def _receive(self, tenant: str, upload_id: str, chunks: Metered) -> None:
        """Store the chunks as parts."""
        part = bytearray()
        try:
            async for chunk in chunks:
                part += chunk
                if len(part) >= PART_BYTES:
                    await self._store(tenant, upload_id, chunks.size_bytes, part)
            await self._store(tenant, upload_id, chunks.size_bytes, part)
        except (asyncio.CancelledError, FailedPrecondition):
            # The caller is gone. What it sent counts, or a slow and shaky line would never get through.
            with suppress(AuricleError):
                await self._store(tenant, upload_id, chunks.size_bytes, part)
            raise
        except BaseException:
            chunks.account.give_back(len(part))
            raise

    async def _store(self, tenant: str, upload_id: str, end: int, part: bytearray) -> None:
        """Store a part that ends at `end`, and empty it."""
        if part and not await self._parts.add(tenant, upload_id, end - len(part), bytes(part)):
            raise _elsewhere(await self._parts.state(tenant, upload_id))
        part.clear()

    async def _complete(
        self, tenant: str, upload_id: str, state: UploadState, config: assistant_pb2.UploadAudioConfig
    ) -> StoredAudio:
        """Make the parts one recording. Its bytes were counted for the quota as parts."""
        paid = Account(0, state.received_bytes)
        parts = Metered(self._parts.read(state), paid, state.received_bytes)
        audio = await self._audios.write(tenant, config.raw_pcm if config.HasField("raw_pcm") else None, parts)
        if not await self._parts.complete(tenant, upload_id, audio.name):
            await self._audios.delete(tenant, audio.name)
            audio = await self._audio(tenant, await self._parts.state(tenant, upload_id)) or audio
        await self._parts.drop(state.parts)
        return audio

    async def _audio(self, tenant: str, state: UploadState) -> StoredAudio | None:
        """The recording that the upload became; none when it was deleted since."""
        try:
            return await self._audios.find(tenant, state.audio_name) if state.audio_name else None
        except NotFound:
            return None


def _checked_id(field: str, upload_id: str) -> str:
    checked = uuid_hex(upload_id)
    if checked is None:
        raise InvalidArgument.of_field(field, "must be a UUID")
    return checked


def _completed(audio: StoredAudio, offset: int) -> StoredAudio:
    if offset != audio.size_bytes:
        raise AlreadyExists(
            "this upload is complete; a new one needs an upload_id of its own",
            reason="UPLOAD_COMPLETE",
            metadata={"audio": audio.name, "received_bytes": str(audio.size_bytes)},
        )
    return audio


def _elsewhere(state: UploadState) -> FailedPrecondition:
    return FailedPrecondition(
        f"the upload goes on at byte {state.received_bytes}",
        reason="UPLOAD_OFFSET_MISMATCH",
        metadata={"received_bytes": str(state.received_bytes)},
    )
