"""Arguments, environment and defaults of a connection."""

from typing import Any

import pytest

from auricle import AsyncClient, Client, TLSConfig
from auricle._connection import Connection

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADDRESS", "API_KEY", "TLS_CA"):
        monkeypatch.delenv(f"AURICLE_{name}", raising=False)


def resolve(
    address: str | None = None,
    api_key: str | None = None,
    tls: bool | TLSConfig | None = None,
    timeout_seconds: float = 120.0,
) -> Connection:
    return Connection.resolve(address, api_key, tls, timeout_seconds, 2**20)


def test_defaults_are_this_machine_without_key_and_encryption() -> None:
    connection = resolve()
    assert (connection.address, connection.api_key, connection.tls) == ("127.0.0.1:8400", None, None)


def test_arguments_win_over_the_environment_and_it_over_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURICLE_ADDRESS", "env:1")
    monkeypatch.setenv("AURICLE_API_KEY", "env-key")
    monkeypatch.setenv("AURICLE_TLS_CA", "env.pem")
    assert resolve() == Connection("env:1", "env-key", TLSConfig(ca="env.pem"), 120.0, 2**20)
    mine = TLSConfig(ca="mine.pem")
    assert resolve("arg:1", "arg-key", mine) == Connection("arg:1", "arg-key", mine, 120.0, 2**20)
    assert resolve(tls=True).tls == TLSConfig(ca="env.pem")
    assert resolve(tls=False).tls is None


def test_tls_without_an_authority_takes_the_public_ones() -> None:
    assert resolve(tls=True).tls == TLSConfig()
    assert TLSConfig().credentials()


def test_a_client_certificate_needs_its_key() -> None:
    with pytest.raises(ValueError, match="both cert and key"):
        TLSConfig(cert="cert.pem")


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"address": "http://localhost:8400"}, "host:port without http://"),
        ({"timeout_seconds": 0}, "timeout_seconds must be above 0"),
        ({"timeout_seconds": float("inf")}, "finite"),
        ({"timeout_seconds": float("nan")}, "above 0"),
        ({"api_key": "key\n"}, "not printable ASCII"),
    ],
)
def test_wrong_arguments_are_refused_at_once(client: Any, arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        client(**arguments)


def test_a_missing_authority_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pem"):
        Client(tls=TLSConfig(ca="nowhere.pem"))


def test_the_key_is_not_shown_where_it_could_be_logged() -> None:
    assert "secret" not in repr(resolve(api_key="secret"))
