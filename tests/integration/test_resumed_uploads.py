"""Uploads that break off and go on: the gateway keeps what came, the SDK takes it up again."""

import asyncio
import hashlib
import io
import random
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import auricle
from auricle import AsyncClient, Client
from auricle.v1 import assistant_pb2
from services.common.auth import create_key
from services.common.errors import AuricleError, from_rpc_error
from services.gateway.upload_parts import PART_BYTES
from tests.platform_fakes import Platform, named, recording, running_platform, text, until, user
from tests.shaky_line import shaky_line

pytestmark = pytest.mark.integration

MEBI = 2**20
UPLOAD_ID = str(uuid.UUID(int=1))


async def send(
    platform: Platform, offset: int, *chunks: bytes, upload_id: str = UPLOAD_ID, **call: Any
) -> assistant_pb2.Audio:
    async def messages() -> AsyncIterator[assistant_pb2.UploadAudioRequest]:
        config = assistant_pb2.UploadAudioConfig(upload_id=upload_id, offset_bytes=offset)
        yield assistant_pb2.UploadAudioRequest(config=config)
        for chunk in chunks:
            yield assistant_pb2.UploadAudioRequest(chunk=chunk)

    return (await platform.stub.UploadAudio(messages(), timeout=20, **call)).audio


async def break_off(platform: Platform, offset: int, *chunks: bytes, **call: Any) -> None:
    """Send the chunks and go without a word, once they have arrived."""
    sending = platform.stub.UploadAudio(timeout=20, **call)
    config = assistant_pb2.UploadAudioConfig(upload_id=UPLOAD_ID, offset_bytes=offset)
    await sending.write(assistant_pb2.UploadAudioRequest(config=config))
    for chunk in chunks:
        await sending.write(assistant_pb2.UploadAudioRequest(chunk=chunk))
    await asyncio.sleep(0.2)
    sending.cancel()

    async def arrived() -> bool:
        return (await received(platform, **call)) == offset + sum(map(len, chunks))

    await until(arrived)


async def received(platform: Platform, upload_id: str = UPLOAD_ID, **call: Any) -> int:
    return (await progress(platform, upload_id, **call)).received_bytes


async def progress(platform: Platform, upload_id: str = UPLOAD_ID, **call: Any) -> assistant_pb2.GetUploadResponse:
    request = assistant_pb2.GetUploadRequest(upload_id=upload_id)
    try:
        return await platform.stub.GetUpload(request, timeout=20, **call)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return assistant_pb2.GetUploadResponse()
        raise


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def refusal(call: Any) -> AuricleError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return from_rpc_error(raised.value, "gateway")


async def test_an_upload_that_stops_half_way_goes_on_where_it_ended() -> None:
    data = recording("a", 2).ljust(3 * MEBI)
    async with running_platform() as platform:
        await break_off(platform, 0, data[:MEBI], data[MEBI : MEBI + 5])
        state = await progress(platform)
        assert state.expire_time.seconds
        assert not state.HasField("audio")
        stored = await send(platform, MEBI + 5, data[MEBI + 5 : 2 * MEBI], data[2 * MEBI :])
        assert (stored.size_bytes, stored.content_sha256) == (len(data), hashlib.sha256(data).digest())
        assert "x50>" in (await platform.chat(user(named(stored.name), text("what?")))).text
        state = await progress(platform)
        assert (state.received_bytes, state.audio) == (len(data), stored)


async def test_an_upload_that_broke_off_after_its_last_byte_needs_no_more_bytes() -> None:
    async with running_platform() as platform:
        await break_off(platform, 0, b"abc")
        stored = await send(platform, 3)
        assert stored.content_sha256 == hashlib.sha256(b"abc").digest()
        assert await send(platform, 3) == stored


async def test_another_offset_is_refused_with_the_right_one() -> None:
    async with running_platform() as platform:
        await break_off(platform, 0, b"abc")
        for offset in (0, 2, 4):
            error = await refusal(send(platform, offset, b"x"))
            assert error.code is grpc.StatusCode.FAILED_PRECONDITION
            assert (error.reason, error.metadata["received_bytes"]) == ("UPLOAD_OFFSET_MISMATCH", "3")
        stored = await send(platform, 3, b"def")
        assert stored.content_sha256 == hashlib.sha256(b"abcdef").digest()
        error = await refusal(send(platform, 0, b"other"))
        assert error.code is grpc.StatusCode.ALREADY_EXISTS
        assert (error.reason, error.metadata["audio"]) == ("UPLOAD_COMPLETE", stored.name)


@pytest.mark.parametrize("upload_id", ["", UPLOAD_ID])
async def test_an_upload_that_ends_before_its_size_is_not_the_whole(upload_id: str, tmp_path: Path) -> None:
    async with running_platform(store_url=tmp_path.as_uri()) as platform:

        async def messages() -> AsyncIterator[assistant_pb2.UploadAudioRequest]:
            config = assistant_pb2.UploadAudioConfig(upload_id=upload_id, size_bytes=6)
            yield assistant_pb2.UploadAudioRequest(config=config)
            yield assistant_pb2.UploadAudioRequest(chunk=b"abc")

        error = await refusal(platform.stub.UploadAudio(messages(), timeout=20))
        assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_INCOMPLETE")
        if upload_id:
            assert (await send(platform, 3, b"def")).content_sha256 == hashlib.sha256(b"abcdef").digest()
        else:
            assert not files(tmp_path)


async def test_a_file_that_shrinks_while_it_is_sent_is_not_stored() -> None:
    class Shrinks(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return b"" if self.tell() > 3 * MEBI else super().read(size)

    async with running_platform() as platform:
        for megabytes in (4, 8):
            with pytest.raises(auricle.FailedPreconditionError) as raised:
                await uploaded(Client, platform.gateway.port, Shrinks(bytes(megabytes * MEBI)))
            assert raised.value.reason == "UPLOAD_INCOMPLETE"


async def test_two_streams_of_one_upload_do_not_mix() -> None:
    a, b = (bytes([mark]) * MEBI for mark in b"ab")
    async with running_platform() as platform:
        outcomes = await asyncio.gather(
            send(platform, 0, *[a] * 9), send(platform, 0, *[b] * 9), return_exceptions=True
        )
        stored = [outcome for outcome in outcomes if isinstance(outcome, assistant_pb2.Audio)]
        lost = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
        # Either one of them got through, or they stopped each other and the upload can still go on.
        assert len(stored) + len(lost) == 2
        assert {from_rpc_error(error, "gateway").reason for error in lost} <= {"UPLOAD_OFFSET_MISMATCH"}
        assert lost
        for audio in stored:
            assert audio.content_sha256 in (hashlib.sha256(a * 9).digest(), hashlib.sha256(b * 9).digest())


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (assistant_pb2.UploadAudioConfig(upload_id="mine"), "config.upload_id"),
        (assistant_pb2.UploadAudioConfig(upload_id="../" + "0" * 29), "config.upload_id"),
        (assistant_pb2.UploadAudioConfig(upload_id=UPLOAD_ID, offset_bytes=-1), "config.offset_bytes"),
        (assistant_pb2.UploadAudioConfig(offset_bytes=1), "config.offset_bytes"),
        (assistant_pb2.UploadAudioConfig(size_bytes=-1), "config.size_bytes"),
    ],
)
async def test_a_wrong_configuration_is_refused(config: assistant_pb2.UploadAudioConfig, field: str) -> None:
    async with running_platform() as platform:

        async def messages() -> AsyncIterator[assistant_pb2.UploadAudioRequest]:
            yield assistant_pb2.UploadAudioRequest(config=config)

        error = await refusal(platform.stub.UploadAudio(messages(), timeout=20))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == [field]


async def test_limits_hold_over_all_pieces_of_an_upload() -> None:
    async with running_platform(upload_max_bytes=3000, upload_quota_bytes=5600) as platform:
        assert (await refusal(send(platform, 0))).reason == "AUDIO_EMPTY"
        await break_off(platform, 0, bytes(2000))
        assert (await refusal(send(platform, 2000, bytes(1001)))).reason == "AUDIO_TOO_LARGE"
        other = str(uuid.uuid4())
        error = await refusal(send(platform, 0, bytes(3000), bytes(1), upload_id=other))
        assert error.reason == "AUDIO_TOO_LARGE"
        # What is not complete counts, and completing it does not count it twice.
        await send(platform, 0, bytes(2500), upload_id=other)
        assert (await refusal(send(platform, 2000, bytes(1000)))).reason == "UPLOAD_QUOTA_EXCEEDED"
        assert (await send(platform, 2000, bytes(400))).size_bytes == 2400


async def test_another_tenants_upload_is_not_there(tmp_path: Path) -> None:
    acme, acme_line = create_key("acme")
    other, other_line = create_key("other")
    (tmp_path / "keys").write_text(f"{acme_line}\n{other_line}\n")
    mine: dict[str, Any] = {"metadata": (("authorization", f"Bearer {acme}"),)}
    theirs: dict[str, Any] = {"metadata": (("authorization", f"Bearer {other}"),)}
    async with running_platform(api_keys_file=tmp_path / "keys") as platform:
        await break_off(platform, 0, b"secret", **mine)
        assert await received(platform, **theirs) == 0
        assert (await send(platform, 0, b"own", **theirs)).content_sha256 == hashlib.sha256(b"own").digest()
        assert await received(platform, **mine) == 6


async def test_what_nobody_completes_expires_and_the_id_is_free_again(tmp_path: Path) -> None:
    async with running_platform(
        store_url=tmp_path.as_uri(), upload_ttl_seconds=1.5, upload_sweep_seconds=0.2
    ) as platform:
        await break_off(platform, 0, b"old")

        async def gone() -> bool:
            return not files(tmp_path)

        await until(gone)
        error = await refusal(platform.stub.GetUpload(assistant_pb2.GetUploadRequest(upload_id=UPLOAD_ID), timeout=20))
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")
        assert (await send(platform, 0, b"new")).content_sha256 == hashlib.sha256(b"new").digest()


async def test_a_deleted_recording_frees_its_upload_id() -> None:
    async with running_platform() as platform:
        stored = await send(platform, 0, b"abc")
        await platform.stub.DeleteAudio(assistant_pb2.DeleteAudioRequest(name=stored.name), timeout=20)
        assert await received(platform) == 0
        again = await send(platform, 0, b"other")
        assert again.content_sha256 == hashlib.sha256(b"other").digest()


async def uploaded(client_class: Any, port: int, source: Any, **call: Any) -> auricle.Audio:
    """Upload with one of the clients, off the loop that the gateway runs on."""
    if client_class is AsyncClient:
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            return await client.upload(source, timeout_seconds=60, **call)
    with Client(f"127.0.0.1:{port}") as blocking:
        return await asyncio.to_thread(blocking.upload, source, timeout_seconds=60, **call)


@pytest.mark.parametrize("client_class", [Client, AsyncClient])
async def test_the_sdk_resumes_over_a_line_that_breaks(client_class: Any, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(24 * MEBI)
    (tmp_path / "long.wav").write_bytes(data)
    seen: list[tuple[int, int | None]] = []
    async with running_platform() as platform:
        async with shaky_line(platform.gateway.port, 7 * MEBI, 10_000, 9 * MEBI) as line:
            audio = await uploaded(
                client_class,
                line.port,
                tmp_path / "long.wav",
                on_progress=lambda sent, total: seen.append((sent, total)),
            )
    assert (audio.size_bytes, audio.content_sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert len(line.carried) >= 4
    # A break costs what was under way, not what had arrived.
    assert sum(line.carried) < len(data) + 3 * (PART_BYTES + 2 * MEBI)
    assert seen[-1] == (len(data), len(data))


async def test_the_sdk_resumes_with_the_next_gateway(tmp_path: Path) -> None:
    data = random.Random(2).randbytes(16 * MEBI)
    held, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 6 * MEBI and not held.is_set():
                loop.call_soon_threadsafe(held.set)
                asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(30)
            return super().read(size)

    store_url = (tmp_path / "store").as_uri()
    async with running_platform(store_url=store_url) as platform:
        port = platform.gateway.port
        uploading = asyncio.create_task(uploaded(Client, port, Slow(data)))
        await asyncio.wait_for(held.wait(), 20)
    go_on.set()
    async with running_platform(port=port, store_url=store_url):
        audio = await uploading
    assert audio.content_sha256 == hashlib.sha256(data).hexdigest()


async def test_the_sdk_gives_up_when_nothing_ever_arrives() -> None:
    async with running_platform() as platform:
        async with shaky_line(platform.gateway.port, *[0] * 1000) as line:
            with pytest.raises(auricle.UnavailableError):
                await uploaded(Client, line.port, bytes(8 * MEBI))
            assert len(line.carried) > 2


async def test_a_small_file_begins_again(tmp_path: Path) -> None:
    async with running_platform() as platform:
        async with shaky_line(platform.gateway.port, 2 * MEBI) as line:
            audio = await uploaded(Client, line.port, bytes(3 * MEBI))
        assert audio.content_sha256 == hashlib.sha256(bytes(3 * MEBI)).hexdigest()


async def test_a_pipe_is_sent_once() -> None:
    class Pipe:
        def __init__(self) -> None:
            self.left = 12 * MEBI

        def read(self, size: int) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    async with running_platform() as platform:
        async with shaky_line(platform.gateway.port, 7 * MEBI) as line:
            with pytest.raises(auricle.UnavailableError):
                await uploaded(Client, line.port, Pipe())
        assert (await uploaded(Client, platform.gateway.port, Pipe())).size_bytes == 12 * MEBI
