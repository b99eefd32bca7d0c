"""Encrypted connections: the server must be who it says, and may ask the same of the client."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

import auricle
from auricle import AsyncClient, Client, TLSConfig
from tests.integration.sdk_assistant import Assistant, serving

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> dict[str, Path]:
    """The authority's certificate, that of another one, and a client's."""
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "other_ca", "cert", "key")}
    authority.cert_pem.write_to_path(str(paths["ca"]))
    trustme.CA().cert_pem.write_to_path(str(paths["other_ca"]))
    client = authority.issue_cert("client@example.com")
    client.cert_chain_pems[0].write_to_path(str(paths["cert"]))
    client.private_key_pem.write_to_path(str(paths["key"]))
    return paths


def credentials(authority: trustme.CA, *, mutual: bool) -> grpc.ServerCredentials:
    server = authority.issue_cert("localhost")
    pair = (server.private_key_pem.bytes(), b"".join(pem.bytes() for pem in server.cert_chain_pems))
    ca = authority.cert_pem.bytes() if mutual else None
    return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=mutual)


@pytest.fixture
def address(authority: trustme.CA) -> Iterator[str]:
    with serving(Assistant(), credentials=credentials(authority, mutual=False)) as address:
        yield address


async def text_of(client: Any) -> str:
    answer = client.chat("x")
    text = str(await answer if inspect.isawaitable(answer) else answer)
    closed = client.close()
    if inspect.isawaitable(closed):
        await closed
    return text


@pytest.mark.parametrize("client_class", [Client, AsyncClient])
async def test_the_given_authority_vouches_for_the_server(
    client_class: Any, address: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await text_of(client_class(address, tls=TLSConfig(ca=files["ca"]))) == "Hello, wörld."
    monkeypatch.setenv("AURICLE_TLS_CA", str(files["ca"]))
    assert await text_of(client_class(address)) == "Hello, wörld."


@pytest.mark.parametrize("tls", ["other_ca", "public", "none"])
def test_a_server_that_nobody_vouches_for_is_not_talked_to(address: str, files: dict[str, Path], tls: str) -> None:
    configurations: dict[str, bool | TLSConfig] = {
        "other_ca": TLSConfig(ca=files["other_ca"]),
        "public": True,
        "none": False,
    }
    with Client(address, tls=configurations[tls]) as client, pytest.raises(auricle.UnavailableError):
        client.chat("x", timeout_seconds=10)


def test_a_server_may_ask_for_the_clients_certificate(authority: trustme.CA, files: dict[str, Path]) -> None:
    with serving(Assistant(), credentials=credentials(authority, mutual=True)) as address:
        with Client(address, tls=TLSConfig(ca=files["ca"], cert=files["cert"], key=files["key"])) as client:
            assert str(client.chat("x")) == "Hello, wörld."
        with Client(address, tls=TLSConfig(ca=files["ca"])) as client, pytest.raises(auricle.UnavailableError):
            client.chat("x")


def test_uploads_are_encrypted_as_well(address: str, files: dict[str, Path]) -> None:
    with Client(address, tls=TLSConfig(ca=files["ca"])) as client:
        assert client.upload(b"RIFF").size_bytes == 4
