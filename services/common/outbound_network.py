"""Connections to addresses that were checked, and to no others."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore2

from services.common.outbound_rules import OutboundRules

Resolve = Callable[[str, int], Awaitable[list[str]]]
# Names that never resolve hold a thread each until the system gives up; they must not take the loop's own.
_resolvers = ThreadPoolExecutor(max_workers=8, thread_name_prefix="resolve")


async def resolve(host: str, port: int) -> list[str]:
    """The host's addresses, as the system knows them. Raises OSError when there are none."""
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(_resolvers, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """What httpcore2 opens connections with: a name is resolved once, all its addresses are checked, and one of just
    these is connected to.

    Args:
        rules: which addresses are let in.
        resolve: finds a host's addresses.
    """

    def __init__(self, rules: OutboundRules, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve
        self._network = httpcore2.AnyIOBackend()

    async def addresses(self, host: str, port: int) -> list[str]:
        """The host's addresses, all of which are let in.

        Raises:
            FailedPrecondition: one is not (URL_ADDRESS_NOT_PUBLIC).
            OSError: there are none.
        """
        addresses = await self._resolve(host, port)
        self._rules.check_addresses(host, addresses)
        return addresses

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109, httpcore2 names it so
        *args: Any,
        **options: Any,
    ) -> httpcore2.AsyncNetworkStream:
        """A connection to the first of the host's addresses that takes one."""
        failure: Exception = httpcore2.ConnectError("the host has no address")
        async with asyncio.timeout(timeout):
            for address in await self.addresses(host, port):
                try:
                    return await self._network.connect_tcp(address, port, None, *args, **options)
                except httpcore2.ConnectError as error:
                    failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait, between tries; httpcore2 asks for it."""
        await asyncio.sleep(seconds)
