"""Who is let in: API keys, tenants, TLS."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from auricle.v1 import assistant_pb2, assistant_pb2_grpc
from services.common.auth import create_key
from services.common.channels import connect
from services.common.errors import from_rpc_error
from services.common.tls import ClientTls
from tests.platform_fakes import Platform, named, recording, running_platform, text, user

pytestmark = pytest.mark.integration


class Keys:
    """A key file with a key each for two tenants."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.acme, acme_line = create_key("acme")
        self.other, self.other_line = create_key("other")
        path.write_text(f"{acme_line}\n{self.other_line}\n")

    def revoke_acme(self) -> None:
        self.path.write_text(f"{self.other_line}\n")
        stat = self.path.stat()
        os.utime(self.path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


async def code(call: object) -> grpc.StatusCode:
    try:
        await call  # type: ignore[misc]
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def upload(platform: Platform, key: str) -> str:
    async def messages() -> AsyncIterator[assistant_pb2.UploadAudioRequest]:
        yield assistant_pb2.UploadAudioRequest(config=assistant_pb2.UploadAudioConfig())
        yield assistant_pb2.UploadAudioRequest(chunk=recording("a").ljust(2000))

    return str((await platform.stub.UploadAudio(messages(), metadata=bearer(key), timeout=20)).audio.name)


async def test_a_known_key_is_let_in_and_others_are_refused_with_a_reason(keys: Keys) -> None:
    async with running_platform(api_keys_file=keys.path) as platform:
        assert (await platform.chat(user(text("hello")), metadata=bearer(keys.acme))).text == "user: hello "
        for metadata in ((), bearer("nonsense"), bearer(keys.acme + "x"), (("authorization", keys.acme),)):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await platform.chat(user(text("hello")), metadata=metadata)
            error = from_rpc_error(raised.value, "gateway")
            assert error.code is grpc.StatusCode.UNAUTHENTICATED
            assert error.reason == "API_KEY_INVALID"
        assert len(platform.decoder.requests) == 1


async def test_every_method_needs_a_key_but_health_does_not(keys: Keys) -> None:
    async with running_platform(api_keys_file=keys.path) as platform:
        stub = platform.stub
        chat = assistant_pb2.ChatRequest(messages=[user(text("hello"))])
        assert await code(stub.Chat(chat, timeout=5)) is grpc.StatusCode.UNAUTHENTICATED
        stream = stub.StreamChat(assistant_pb2.StreamChatRequest(chat=chat), timeout=5)
        assert await code(anext(aiter(stream))) is grpc.StatusCode.UNAUTHENTICATED
        assert await code(upload(platform, "nonsense")) is grpc.StatusCode.UNAUTHENTICATED
        delete = assistant_pb2.DeleteAudioRequest(name="audios/1")
        assert await code(stub.DeleteAudio(delete, timeout=5)) is grpc.StatusCode.UNAUTHENTICATED
        assert await code(stub.GetModel(assistant_pb2.GetModelRequest(), timeout=5)) is grpc.StatusCode.UNAUTHENTICATED
        health = health_pb2_grpc.HealthStub(platform.channel)
        assert await code(health.Check(health_pb2.HealthCheckRequest(), timeout=5)) is grpc.StatusCode.OK


async def test_a_revoked_key_is_refused_at_once(keys: Keys) -> None:
    async with running_platform(api_keys_file=keys.path) as platform:
        await platform.chat(user(text("hello")), metadata=bearer(keys.acme))
        keys.revoke_acme()
        call = platform.chat(user(text("hello")), metadata=bearer(keys.acme))
        assert await code(call) is grpc.StatusCode.UNAUTHENTICATED
        assert (await platform.chat(user(text("hello")), metadata=bearer(keys.other))).text


async def test_a_tenants_recording_does_not_exist_for_another(keys: Keys) -> None:
    async with running_platform(api_keys_file=keys.path) as platform:
        name = await upload(platform, keys.acme)
        delete = assistant_pb2.DeleteAudioRequest(name=name)
        assert await code(platform.chat(user(named(name)), metadata=bearer(keys.other))) is grpc.StatusCode.NOT_FOUND
        call = platform.stub.DeleteAudio(delete, metadata=bearer(keys.other), timeout=5)
        assert await code(call) is grpc.StatusCode.NOT_FOUND
        assert await code(platform.chat(user(named(name)), metadata=bearer(keys.acme))) is grpc.StatusCode.OK


async def test_tenants_have_quotas_of_their_own(keys: Keys) -> None:
    async with running_platform(api_keys_file=keys.path, upload_quota_bytes=3000) as platform:
        assert await upload(platform, keys.acme)
        assert await code(upload(platform, keys.acme)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await upload(platform, keys.other)


async def test_with_a_certificate_calls_are_encrypted_and_plain_ones_fail(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(paths["ca"])
    certificate.private_key_pem.write_to_path(paths["key"])
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(paths["cert"], append=True)
    async with running_platform(tls_cert=paths["cert"], tls_key=paths["key"]) as platform:
        address = f"127.0.0.1:{platform.gateway.port}"
        async with connect(address, max_message_bytes=2**20, tls=ClientTls(paths["ca"])) as channel:
            stub = assistant_pb2_grpc.AssistantServiceStub(channel)
            request = assistant_pb2.ChatRequest(messages=[user(text("hello"))])
            assert (await stub.Chat(request, timeout=5)).text == "user: hello "
        assert await code(platform.chat(user(text("hello")), timeout=2)) is not grpc.StatusCode.OK
