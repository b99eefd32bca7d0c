"""Uploads over the wire: stored once, named later, bounded, removed."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from auricle.v1 import assistant_pb2
from services.common.errors import AuricleError, from_rpc_error
from tests.platform_fakes import Platform, mark, named, recording, running_platform, text, user

pytestmark = pytest.mark.integration

CONFIG = assistant_pb2.UploadAudioRequest(config=assistant_pb2.UploadAudioConfig())


def chunk(data: bytes) -> assistant_pb2.UploadAudioRequest:
    return assistant_pb2.UploadAudioRequest(chunk=data)


async def messages(*requests: assistant_pb2.UploadAudioRequest) -> AsyncIterator[assistant_pb2.UploadAudioRequest]:
    for request in requests:
        yield request


async def upload(platform: Platform, *requests: assistant_pb2.UploadAudioRequest) -> assistant_pb2.Audio:
    return (await platform.stub.UploadAudio(messages(*requests), timeout=20)).audio


async def refusal(platform: Platform, *requests: assistant_pb2.UploadAudioRequest) -> AuricleError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await upload(platform, *requests)
    return from_rpc_error(raised.value, "gateway")


async def test_an_upload_is_named_described_used_and_deleted() -> None:
    data = recording("a", 2)
    async with running_platform(upload_ttl_seconds=1000) as platform:
        stored = await upload(platform, CONFIG, chunk(data[:5]), chunk(data[5:]))
        assert stored.name.startswith("audios/")
        assert stored.size_bytes == len(data)
        assert stored.content_sha256 == hashlib.sha256(data).digest()
        assert 900 < stored.expire_time.seconds - time.time() <= 1000
        for _ in range(2):
            answer = await platform.chat(user(named(stored.name), text("what?")))
            assert answer.text.strip() == f"user: <{mark('a')}x50> what?"
        delete = assistant_pb2.DeleteAudioRequest(name=stored.name)
        await platform.stub.DeleteAudio(delete, timeout=20)
        for call in (platform.stub.DeleteAudio(delete, timeout=20), platform.chat(user(named(stored.name)))):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert from_rpc_error(raised.value, "gateway").reason == "AUDIO_NOT_FOUND"


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "config"),
        ([chunk(b"x")], "config"),
        ([CONFIG, CONFIG], "chunk"),
        ([CONFIG, chunk(b"x"), chunk(b"")], "chunk"),
        ([CONFIG, chunk(bytes(2**20 + 1))], "chunk"),
    ],
    ids=["nothing", "no config", "two configs", "an empty chunk", "a large chunk"],
)
async def test_messages_out_of_order_are_refused(requests: list[assistant_pb2.UploadAudioRequest], field: str) -> None:
    async with running_platform() as platform:
        error = await refusal(platform, *requests)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == [field]


async def test_limits_of_an_upload_each_have_their_reason() -> None:
    async with running_platform(upload_max_bytes=3000, upload_quota_bytes=5000) as platform:
        assert (await refusal(platform, CONFIG)).reason == "AUDIO_EMPTY"
        assert (await refusal(platform, CONFIG, chunk(bytes(2000)), chunk(bytes(2000)))).reason == "AUDIO_TOO_LARGE"
        await upload(platform, CONFIG, chunk(bytes(3000)))
        error = await refusal(platform, CONFIG, chunk(bytes(3000)))
        assert error.reason == "UPLOAD_QUOTA_EXCEEDED"
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_caller_who_is_refused_while_sending_is_told_why() -> None:
    async with running_platform(upload_max_bytes=2**20) as platform:
        for _ in range(5):
            assert (await refusal(platform, CONFIG, *[chunk(bytes(2**20))] * 30)).reason == "AUDIO_TOO_LARGE"


async def test_uploads_past_the_limit_are_refused_and_a_stuck_one_ends_with_its_deadline() -> None:
    async with running_platform(max_concurrent_uploads=1, default_deadline_seconds=1) as platform:
        stuck = platform.stub.UploadAudio()
        await stuck.write(CONFIG)
        await asyncio.sleep(0.2)
        error = await refusal(platform, CONFIG, chunk(b"x"))
        assert error.reason == "GATEWAY_BUSY"
        assert error.retry_after_seconds
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await asyncio.wait_for(stuck, 5)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await upload(platform, CONFIG, chunk(b"x"))).size_bytes == 1
