"""Uploads at rest: whole, apart by tenant, bounded, and gone when their time is up."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from auricle.v1 import audio_pb2
from services.common.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from services.gateway.audio_store import AudioStore, StoreLimits
from services.gateway.sweeper import regularly
from tests.platform_fakes import until

pytestmark = pytest.mark.unit

MEBI = 2**20
PCM = audio_pb2.RawPcm(sample_rate_hz=16000, channels=1, sample_format=audio_pb2.SAMPLE_FORMAT_S16LE)


def limits(upload_bytes: int = 32 * MEBI, quota_bytes: int = 64 * MEBI, ttl_seconds: float = 60) -> StoreLimits:
    return StoreLimits(upload_bytes, quota_bytes, ttl_seconds)


@pytest.fixture(params=["memory", "folder"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else (tmp_path / "new" / "uploads").as_uri()


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def content(store: AudioStore, tenant: str, name: str, chunk_bytes: int = MEBI) -> list[bytes]:
    return [chunk async for chunk in store.chunks(tenant, name, chunk_bytes)]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def empty(folder: Path) -> bool:
    return not files(folder)


async def test_a_recording_comes_back_whole_with_its_description(url: str) -> None:
    store = AudioStore(url, limits())
    chunks = [bytes([i]) * MEBI for i in range(12)] + [b"end"]
    saved = await store.save("acme", PCM, pieces(*chunks))
    whole = b"".join(chunks)
    assert (saved.size_bytes, saved.sha256_hex) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert await store.find("acme", saved.name) == saved
    back = await content(store, "acme", saved.name, 100_000)
    assert b"".join(back) == whole
    assert max(map(len, back)) == 100_000


async def test_a_file_has_no_description_of_samples(url: str) -> None:
    store = AudioStore(url, limits())
    saved = await store.save("acme", None, pieces(b"RIFF"))
    assert (await store.find("acme", saved.name)).raw_pcm is None


async def test_another_tenants_recording_is_not_there(url: str) -> None:
    store = AudioStore(url, limits())
    saved = await store.save("acme", None, pieces(b"secret"))
    for attempt in (store.find("other", saved.name), store.delete("other", saved.name)):
        with pytest.raises(NotFound) as raised:
            await attempt
        assert raised.value.reason == "AUDIO_NOT_FOUND"
    assert await content(store, "acme", saved.name) == [b"secret"]


@pytest.mark.parametrize("name", ["", "audios/", "audios/" + "0" * 32, "audios/../acme/x", "x/" + "0" * 32, "a" * 9999])
async def test_a_name_that_is_not_ours_is_not_there(url: str, name: str) -> None:
    with pytest.raises(NotFound) as raised:
        await AudioStore(url, limits()).find("acme", name)
    assert len(raised.value.message) < 200


async def test_a_deleted_recording_is_gone(url: str) -> None:
    store = AudioStore(url, limits())
    saved = await store.save("acme", None, pieces(b"x"))
    await store.delete("acme", saved.name)
    with pytest.raises(NotFound):
        await store.delete("acme", saved.name)
    with pytest.raises(NotFound):
        await content(store, "acme", saved.name)


async def test_an_upload_past_the_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    store = AudioStore(tmp_path.as_uri(), limits(upload_bytes=8 * MEBI))
    with pytest.raises(InvalidArgument) as raised:
        await store.save("acme", None, pieces(*[bytes(MEBI)] * 9))
    assert raised.value.reason == "AUDIO_TOO_LARGE"
    assert files(tmp_path) == []


async def test_an_empty_upload_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await AudioStore(tmp_path.as_uri(), limits()).save("acme", None, pieces())
    assert raised.value.reason == "AUDIO_EMPTY"
    assert files(tmp_path) == []


async def test_an_upload_that_is_left_leaves_nothing(tmp_path: Path) -> None:
    store = AudioStore(tmp_path.as_uri(), limits(quota_bytes=20 * MEBI))
    begun = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        for _ in range(12):
            yield bytes(MEBI)
        begun.set()
        await asyncio.sleep(60)

    saving = asyncio.create_task(store.save("acme", None, stuck()))
    await asyncio.wait_for(begun.wait(), 10)
    saving.cancel()
    await asyncio.wait([saving])
    await until(lambda: empty(tmp_path))
    await store.save("acme", None, pieces(*[bytes(MEBI)] * 12))


async def test_the_quota_counts_what_the_tenant_has_stored(url: str) -> None:
    store = AudioStore(url, limits(quota_bytes=3 * MEBI))
    kept = await store.save("acme", None, pieces(bytes(MEBI), bytes(MEBI)))
    with pytest.raises(ResourceExhausted) as raised:
        await store.save("acme", None, pieces(bytes(MEBI), bytes(MEBI)))
    assert raised.value.reason == "UPLOAD_QUOTA_EXCEEDED"
    await store.save("acme2", None, pieces(bytes(MEBI), bytes(MEBI)))
    await store.delete("acme", kept.name)
    await store.save("acme", None, pieces(bytes(MEBI), bytes(MEBI)))


async def test_bytes_that_were_refused_do_not_count_for_uploads_in_progress(url: str) -> None:
    store = AudioStore(url, limits(upload_bytes=2 * MEBI, quota_bytes=4 * MEBI))
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(MEBI)
        await go_on.wait()
        yield bytes(MEBI)

    saving = asyncio.create_task(store.save("acme", None, slow()))
    await asyncio.sleep(0.05)
    for _ in range(3):
        with pytest.raises(InvalidArgument):
            await store.save("acme", None, pieces(bytes(MEBI), bytes(MEBI), bytes(MEBI)))
    go_on.set()
    assert (await saving).size_bytes == 2 * MEBI


async def test_an_expired_recording_is_not_there_and_is_swept(tmp_path: Path) -> None:
    store = AudioStore(tmp_path.as_uri(), limits(ttl_seconds=0.3))
    old = await store.save("acme", None, pieces(b"old"))
    await asyncio.sleep(0.35)
    young = await store.save("acme", None, pieces(b"young"))
    with pytest.raises(NotFound):
        await store.find("acme", old.name)
    assert await store.sweep() == 2
    assert await content(store, "acme", young.name) == [b"young"]
    assert len(files(tmp_path)) == 2


async def test_the_sweep_goes_on_by_itself(tmp_path: Path) -> None:
    store = AudioStore(tmp_path.as_uri(), limits(ttl_seconds=0.05))
    sweeping = asyncio.create_task(regularly(store.sweep, 0.05))
    await store.save("acme", None, pieces(b"x"))
    await until(lambda: empty(tmp_path))
    sweeping.cancel()


async def test_a_store_that_fails_is_unavailable(tmp_path: Path) -> None:
    store = AudioStore(tmp_path.as_uri(), limits())
    (tmp_path / "audios").write_text("a file where a folder should be")
    with pytest.raises(Unavailable) as raised:
        await store.save("acme", None, pieces(b"x"))
    assert raised.value.reason == "STORE_UNAVAILABLE"
    assert str(tmp_path) not in raised.value.message
