"""Uploads, jobs and recordings by URI in a real S3 server."""

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Iterator

import obstore
import pytest

from auricle.v1 import assistant_pb2, audio_pb2
from services.common.errors import AuricleError
from services.common.object_store import objects_under, open_store
from services.gateway.audio_store import AudioStore, StoreLimits
from services.gateway.resumable import ResumableUploads
from services.jobstore.blobs import JobBlobs
from services.jobstore.object_uris import ObjectUris
from tests.s3_server import BUCKET, S3Server, running_s3

pytestmark = pytest.mark.integration

MEBI = 2**20
UPLOAD_ID = "0" * 32
LIMITS = StoreLimits(upload_bytes=64 * MEBI, quota_bytes=256 * MEBI, ttl_seconds=3600)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        before = dict(os.environ)
        os.environ.update(server.environment)
        yield server
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def url(s3: S3Server, request: pytest.FixtureRequest) -> str:
    return f"s3://{BUCKET}/{request.node.name}"


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), MEBI):
        yield data[start : start + MEBI]


async def joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def test_recordings_are_kept_found_and_removed(url: str) -> None:
    store, data = AudioStore(url, LIMITS), random.Random(1).randbytes(12 * MEBI)
    saved = await store.save("ann", None, pieces(data))
    assert await store.find("ann", saved.name) == saved
    assert await joined(store.chunks("ann", saved.name, MEBI)) == data
    with pytest.raises(AuricleError) as raised:
        await store.find("bob", saved.name)
    assert raised.value.reason == "AUDIO_NOT_FOUND"
    await store.delete("ann", saved.name)
    with pytest.raises(AuricleError):
        await store.find("ann", saved.name)


async def test_a_broken_upload_goes_on_and_the_first_writer_of_a_part_wins(url: str) -> None:
    uploads, data = ResumableUploads(AudioStore(url, LIMITS)), random.Random(2).randbytes(10 * MEBI)
    arrived = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        async for piece in pieces(data[: 6 * MEBI]):
            yield piece
        arrived.set()
        await asyncio.sleep(60)

    config = assistant_pb2.UploadAudioConfig(upload_id=UPLOAD_ID)
    sending = asyncio.create_task(uploads.save("ann", config, half()))
    await asyncio.wait_for(arrived.wait(), 30)
    sending.cancel()
    await asyncio.wait([sending])
    assert (await uploads.progress("ann", UPLOAD_ID)).received_bytes == 6 * MEBI
    with pytest.raises(AuricleError) as raised:
        await uploads.save("ann", config, pieces(data))
    assert raised.value.reason == "UPLOAD_OFFSET_MISMATCH"
    config.offset_bytes = 6 * MEBI
    outcomes = await asyncio.gather(
        *(uploads.save("ann", config, pieces(data[6 * MEBI :])) for _ in range(2)), return_exceptions=True
    )
    reasons = {outcome.reason for outcome in outcomes if isinstance(outcome, AuricleError)}
    assert reasons <= {"UPLOAD_OFFSET_MISMATCH", "UPLOAD_COMPLETE"}
    audio = (await uploads.progress("ann", UPLOAD_ID)).audio
    assert audio is not None
    assert audio.sha256_hex == hashlib.sha256(data).hexdigest()


async def test_jobs_keep_their_parts_and_leave_nothing(url: str, s3: S3Server) -> None:
    store, blobs, data = AudioStore(url, LIMITS), JobBlobs(url), random.Random(3).randbytes(11 * MEBI)
    saved = await store.save("ann", None, pieces(data))
    await blobs.take_upload(store.path("ann", saved.name), "ann", "1")
    assert await joined(blobs.source("ann", "1", MEBI)) == data
    tensor = audio_pb2.Tensor(shape=[1, 2], data=b"12345678")
    await blobs.put_embeddings("ann", "1", 3, "f1", tensor)
    assert await blobs.get_embeddings("ann", "1", 3, "f1") == tensor
    await blobs.put_source("ann", "2", "aaa", pieces(data))
    await blobs.put_source("ann", "2", "bbb", pieces(b"late"))
    assert await joined(blobs.source("ann", "2", MEBI)) == data
    assert sorted(await blobs.jobs()) == [("ann", "1"), ("ann", "2")]
    for job_id in ("1", "2"):
        await blobs.delete_job("ann", job_id)
    assert await objects_under(open_store(url), "jobs") == []


async def test_a_recording_behind_an_s3_uri_is_read_within_its_folder(s3: S3Server) -> None:
    data = random.Random(4).randbytes(3 * MEBI)
    for key in ("inbox/ann/a.wav", "inbox/bob/b.wav"):
        await obstore.put_async(s3.bucket(), key, data)
    uris = ObjectUris([f"s3://{BUCKET}/inbox/{{tenant}}/"])
    assert await uris.size_bytes("ann", f"s3://{BUCKET}/inbox/ann/a.wav", "uri") == len(data)
    assert await joined(uris.chunks("ann", f"s3://{BUCKET}/inbox/ann/a.wav", "uri")) == data
    for uri, reason in (
        (f"s3://{BUCKET}/inbox/bob/b.wav", "URI_NOT_ALLOWED"),
        (f"s3://{BUCKET}/inbox/ann/../bob/b.wav", "URI_NOT_ALLOWED"),
        (f"s3://{BUCKET}/inbox/ann/none.wav", "AUDIO_NOT_FOUND"),
    ):
        with pytest.raises(AuricleError) as raised:
            await uris.size_bytes("ann", uri, "uri")
        assert raised.value.reason == reason
