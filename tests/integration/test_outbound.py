"""Calls to addresses that callers name, against a true https server: pinned, bounded, never redirected."""

import asyncio
import ipaddress
import ssl

import pytest
import trustme

from services.common.errors import AuricleError
from services.common.outbound import Outbound, OutboundTimeouts
from services.common.outbound_rules import OutboundRules
from tests.https_server import Answer, HttpsServer, Request, answering, https_server, response, trusting

pytestmark = pytest.mark.integration

QUICK = OutboundTimeouts(connect=2.0, read=0.3, total=1.0)
LIMIT_BYTES = 100_000


class Names:
    """A name server whose answers may change with every question."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self._answers[min(self.asked, len(self._answers)) - 1]


HERE = ["127.0.0.1"]


def outbound(
    server: HttpsServer,
    names: Names | None = None,
    timeouts: OutboundTimeouts | None = None,
    tls: ssl.SSLContext | None = None,
) -> Outbound:
    """It may call this server, and nothing else on this machine but 127.0.0.1 itself."""
    rules = OutboundRules(("media.example",), (server.port,), (ipaddress.ip_network("127.0.0.1/32"),))
    return Outbound(rules, timeouts, tls=tls or trusting(), resolve=(names or Names(HERE)).resolve)


async def fetched(caller: Outbound, url: str) -> bytes:
    async with caller.fetch(url, "uri", LIMIT_BYTES) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def refusal(caller: Outbound, url: str) -> AuricleError:
    with pytest.raises(AuricleError) as raised:
        await fetched(caller, url)
    return raised.value


async def test_bytes_come_from_the_pinned_address_under_the_servers_name() -> None:
    names = Names(HERE)
    async with https_server(answering(response(200, b"sound" * 1000))) as server:
        assert await fetched(outbound(server, names), server.url("/a.wav?x=1")) == b"sound" * 1000
        assert names.asked == 1
        (request,) = server.requests
        assert (request.method, request.path) == ("GET", "/a.wav?x=1")
        assert request.headers["host"] == f"media.example:{server.port}"
        assert request.headers["accept-encoding"] == "identity"
        assert "cookie" not in request.headers


async def test_a_redirect_to_a_private_address_is_not_followed() -> None:
    async with https_server(answering(response(200, b"secret"))) as private:
        moved = response(302, location=f"https://127.0.0.1:{private.port}/latest/meta-data")
        async with https_server(answering(moved)) as server:
            error = await refusal(outbound(server), server.url())
        assert (error.reason, error.metadata["status"]) == ("URL_REDIRECTS", "302")
        assert private.connections == 0


async def test_a_name_with_any_private_address_is_refused_before_a_connection() -> None:
    async with https_server(answering(response(200, b"sound"))) as server:
        for addresses in (["127.0.0.1", "10.0.0.1"], ["::ffff:127.0.0.1"], ["127.0.0.2"]):
            caller = outbound(server, Names(addresses))
            assert (await refusal(caller, server.url())).reason == "URL_ADDRESS_NOT_PUBLIC"
            with pytest.raises(AuricleError) as raised:
                await caller.check(server.url(), "uri")
            assert raised.value.reason == "URL_ADDRESS_NOT_PUBLIC"
        assert server.connections == 0


async def test_a_name_that_changes_between_check_and_use_gains_nothing() -> None:
    names = Names(HERE, ["127.0.0.2"])
    async with https_server(answering(response(200, b"sound"))) as server:
        caller = outbound(server, names)
        await caller.check(server.url(), "uri")
        assert (await refusal(caller, server.url())).reason == "URL_ADDRESS_NOT_PUBLIC"
        assert server.connections == 0
        # And within one call nobody asks a second time: what was checked is what is connected to.
        names = Names(HERE, ["127.0.0.2"])
        assert await fetched(outbound(server, names), server.url()) == b"sound"
        assert names.asked == 1


async def test_a_certificate_for_another_name_or_of_another_authority_is_refused() -> None:
    async with https_server(answering(response(200, b"sound")), host="other.example") as server:
        assert (await refusal(outbound(server), server.url())).reason == "URL_CERTIFICATE_INVALID"
    async with https_server(answering(response(200, b"sound"))) as server:
        stranger = ssl.create_default_context()
        trustme.CA().configure_trust(stranger)
        assert (await refusal(outbound(server, tls=stranger), server.url())).reason == "URL_CERTIFICATE_INVALID"
        assert not server.requests


async def test_more_bytes_than_the_limit_are_not_read() -> None:
    sent = 0

    async def endless(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 2**30:
            writer.write(bytes(10_000))
            sent += 10_000
            await writer.drain()

    async with https_server(endless) as server:
        assert (await refusal(outbound(server), server.url())).reason == "AUDIO_TOO_LARGE"
    assert sent < 2**26
    async with https_server(answering(response(200, b"", content_length=str(LIMIT_BYTES + 1)))) as server:
        assert (await refusal(outbound(server), server.url())).reason == "AUDIO_TOO_LARGE"


async def silent(request: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def stuck(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
    await asyncio.sleep(30)


async def trickling(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.05)


async def trickling_headers(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"a: b\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("slow", [silent, stuck, trickling, trickling_headers])
async def test_a_slow_server_costs_bounded_time(slow: Answer) -> None:
    async with https_server(slow) as server:
        async with asyncio.timeout(10):
            error = await refusal(outbound(server, timeouts=QUICK), server.url())
        assert error.reason == "URL_UNREACHABLE"
        assert error.retry_after_seconds


async def test_a_name_that_never_resolves_costs_bounded_time() -> None:
    class Never(Names):
        async def resolve(self, host: str, port: int) -> list[str]:
            await asyncio.sleep(30)
            return HERE

    async with https_server(silent) as server:
        caller = outbound(server, Never(), OutboundTimeouts(connect=0.2))
        async with asyncio.timeout(10):
            assert (await refusal(caller, server.url())).reason == "URL_UNREACHABLE"
            with pytest.raises(AuricleError, match="did not answer"):
                await caller.check(server.url(), "uri")


async def test_nobody_listens_or_the_answer_is_broken() -> None:
    async with https_server(answering(b"what?\r\n\r\n")) as server:
        assert (await refusal(outbound(server), server.url())).reason == "URL_UNREACHABLE"
        gone = server
    assert (await refusal(outbound(gone), gone.url())).reason == "URL_UNREACHABLE"


@pytest.mark.parametrize(("status", "passing"), [(404, False), (401, False), (204, False), (429, True), (503, True)])
async def test_other_answers_are_told_and_only_some_are_worth_another_try(status: int, passing: bool) -> None:
    async with https_server(answering(response(status))) as server:
        error = await refusal(outbound(server), server.url())
    assert (error.reason, error.metadata["status"]) == ("URL_FAILED", str(status))
    assert (error.retry_after_seconds is not None) == passing


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy of the environment would be a way around the rules; it must not be used.
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
