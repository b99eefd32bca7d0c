"""Calls to addresses that callers name: https under `OutboundRules`, in bounded time.

A name is resolved once for each call, all its addresses are checked, and the connection goes to one of the checked
addresses: a name that means something else a moment later gains nothing. The certificate is still that of the name.
Redirects are not followed. Every call has a connection of its own, so that no slow server can be in another call's way.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import httpcore2

from services.common.errors import FailedPrecondition, InvalidArgument, Unavailable
from services.common.outbound_network import CheckedNetwork, Resolve, resolve
from services.common.outbound_rules import OutboundRules, Target

RETRY_SECONDS = 5.0
# Request timeout, too early, too many requests.
PASSING_STATUSES = (408, 425, 429)
_HTTP_ERRORS = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException)


@dataclass(frozen=True)
class OutboundTimeouts:
    """How long a call may take, in seconds."""

    connect: float = 5.0
    read: float = 30.0
    total: float = 1800.0


@dataclass(frozen=True)
class OutboundResponse:
    """What came back: the body is read by whoever wants it."""

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]


class Outbound:
    """Makes calls.

    Args:
        rules: what may be called.
        timeouts: how long it may take.
        tls: whom to trust; the public authorities by default.
        resolve: finds a host's addresses.
    """

    def __init__(
        self,
        rules: OutboundRules,
        timeouts: OutboundTimeouts | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = resolve,
    ) -> None:
        self._rules = rules
        self._timeouts = timeouts or OutboundTimeouts()
        self._tls = tls or httpcore2.default_ssl_context()
        self._network = CheckedNetwork(rules, resolve)

    async def check(self, url: str, field: str) -> None:
        """Tell early what a call would tell: whether the URL is allowed and its host public. Calls nobody.

        Raises:
            InvalidArgument: URL_NOT_ALLOWED.
            FailedPrecondition: URL_ADDRESS_NOT_PUBLIC.
            Unavailable: the host cannot be found now (URL_UNREACHABLE).
        """
        target = self._rules.check_url(url, field)
        with _call_errors(target.host):
            async with asyncio.timeout(self._timeouts.connect):
                await self._network.addresses(target.host, target.port)

    @asynccontextmanager
    async def call(
        self, method: str, url: str, field: str, *, headers: Mapping[str, str] | None = None, content: bytes = b""
    ) -> AsyncGenerator[OutboundResponse, None]:
        """Call; the block may read the body.

        Raises:
            InvalidArgument: URL_NOT_ALLOWED.
            FailedPrecondition: URL_ADDRESS_NOT_PUBLIC, or the certificate is not good (URL_CERTIFICATE_INVALID).
            Unavailable: no answer, or none in time (URL_UNREACHABLE).
        """
        target = self._rules.check_url(url, field)
        deadline = asyncio.get_running_loop().time() + self._timeouts.total
        async with AsyncExitStack() as stack:
            with _call_errors(target.host):
                async with asyncio.timeout_at(deadline):
                    response = await stack.enter_async_context(self._stream(method, target, headers or {}, content))
            named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            yield OutboundResponse(response.status, named, _body(response, target.host, deadline))

    @asynccontextmanager
    async def fetch(self, url: str, field: str, limit_bytes: int) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """The bytes behind a URL, as they come.

        Raises:
            InvalidArgument: URL_NOT_ALLOWED, or there are more than the limit (AUDIO_TOO_LARGE).
            FailedPrecondition: as `call`, or the server answered otherwise (URL_REDIRECTS, URL_FAILED).
            Unavailable: as `call`, or the server cannot answer now (URL_FAILED).
        """
        async with self.call("GET", url, field, headers={"Accept-Encoding": "identity"}) as response:
            _check_status(response.status)
            told = response.headers.get("content-length", "")
            if told.isdecimal() and int(told) > limit_bytes:
                raise too_large(field, limit_bytes)
            yield bounded(response.body, field, limit_bytes)

    @asynccontextmanager
    async def _stream(
        self, method: str, target: Target, headers: Mapping[str, str], content: bytes
    ) -> AsyncGenerator[httpcore2.Response, None]:
        limits = self._timeouts
        url = httpcore2.URL(scheme="https", host=target.host, port=target.port, target=target.path_and_query)
        timeout = {"connect": limits.connect, "read": limits.read, "write": limits.read, "pool": limits.connect}
        given = [("User-Agent", "auricle"), *headers.items()]
        async with (
            httpcore2.AsyncConnectionPool(ssl_context=self._tls, network_backend=self._network) as pool,
            pool.stream(method, url, headers=given, content=content, extensions={"timeout": timeout}) as response,
        ):
            yield response


async def _body(response: httpcore2.Response, host: str, deadline: float) -> AsyncIterator[bytes]:
    parts = aiter(response.aiter_stream())
    while True:
        with _call_errors(host):
            async with asyncio.timeout_at(deadline):
                chunk = await anext(parts, None)
        if chunk is None:
            return
        yield chunk


async def bounded(chunks: AsyncIterator[bytes], field: str, limit_bytes: int) -> AsyncGenerator[bytes, None]:
    """The chunks; raises InvalidArgument (AUDIO_TOO_LARGE) when there are more bytes than the limit."""
    size_bytes = 0
    async for chunk in chunks:
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise too_large(field, limit_bytes)
        yield chunk


def _check_status(status: int) -> None:
    if status == 200:
        return
    metadata = {"status": str(status)}
    if 300 <= status < 400:
        raise FailedPrecondition(
            "the server redirects, which is not followed", reason="URL_REDIRECTS", metadata=metadata
        )
    if status in PASSING_STATUSES or status >= 500:
        raise Unavailable(
            f"the server answered {status}", reason="URL_FAILED", metadata=metadata, retry_after_seconds=RETRY_SECONDS
        )
    raise FailedPrecondition(f"the server answered {status}", reason="URL_FAILED", metadata=metadata)


def too_large(field: str, limit_bytes: int) -> InvalidArgument:
    """The error for a recording of more bytes than may be."""
    return InvalidArgument.of_field(field, f"at most {limit_bytes} bytes", reason="AUDIO_TOO_LARGE")


@contextmanager
def _call_errors(host: str) -> Iterator[None]:
    try:
        yield
    except (*_HTTP_ERRORS, OSError, TimeoutError) as error:
        if _is_about_certificate(error):
            raise FailedPrecondition(
                f"the certificate of {host} is not good", reason="URL_CERTIFICATE_INVALID", metadata={"host": host}
            ) from error
        raise Unavailable(
            f"{host} did not answer",
            reason="URL_UNREACHABLE",
            metadata={"host": host},
            retry_after_seconds=RETRY_SECONDS,
        ) from error


def _is_about_certificate(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None
