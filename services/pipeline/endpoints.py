"""Where the replicas of a service are: named one by one, behind a DNS name, or in Kubernetes.

127.0.0.1:8402                      one
10.0.0.7:8402,10.0.0.8:8402         several
dns:///decoder:8402                 every address of the name (a headless service), asked again and again
k8s:///auricle/decoder:grpc         the EndpointSlices of a service in a namespace, by port name or number
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncIterator
from typing import Protocol

from services.common import telemetry

RESOLVE_SECONDS = 5.0
TARGET = "host:port, several by commas, dns:///host:port, or k8s:///namespace/service:port"
_LISTED = re.compile(r"(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
_NAMED = re.compile(r"dns:///(?P<host>[\w.-]+):(?P<port>\d{1,5})")
_KUBERNETES = re.compile(r"k8s:///(?P<namespace>[a-z0-9-]+)/(?P<service>[a-z0-9-]+):(?P<port>[a-z0-9-]+)")

Addresses = frozenset[str]


class Endpoints(Protocol):
    """The `host:port` addresses that take new calls.

    Attributes:
        initial: those known from the start.
        tls_name: name that the servers' certificates bear, where addresses do not name it.
    """

    initial: Addresses
    tls_name: str | None

    def changes(self) -> AsyncIterator[Addresses]:
        """All of them, after each change; may end when there will be no more."""


def check_target(target: str) -> None:
    """Find a mistake before anything is started.

    Raises:
        ValueError: it is none of the forms above.
    """
    if not _NAMED.fullmatch(target) and not _KUBERNETES.fullmatch(target):
        ListedEndpoints(target)


def endpoints_of(target: str) -> Endpoints:
    """What a setting names.

    Raises:
        ValueError: it is none of the forms above.
    """
    if match := _NAMED.fullmatch(target):
        return ResolvedEndpoints(match["host"], int(match["port"]))
    if match := _KUBERNETES.fullmatch(target):
        # Only who runs in Kubernetes needs its client.
        from services.pipeline.kubernetes_endpoints import KubernetesEndpoints

        return KubernetesEndpoints(match["namespace"], match["service"], match["port"])
    return ListedEndpoints(target)


class ListedEndpoints:
    """Addresses that never change."""

    tls_name: str | None = None

    def __init__(self, target: str) -> None:
        addresses = [address.strip() for address in target.split(",")]
        for address in addresses:
            match = _LISTED.fullmatch(address)
            if match is None or not 0 < int(match["port"]) < 2**16:
                raise ValueError(f"{address[:80]!r} is not {TARGET}")
        self.initial: Addresses = frozenset(addresses)

    async def changes(self) -> AsyncIterator[Addresses]:
        """None."""
        return
        yield


class ResolvedEndpoints:
    """The addresses of a DNS name. A name that cannot be resolved for a while keeps the addresses that it had."""

    def __init__(self, host: str, port: int, every_seconds: float = RESOLVE_SECONDS) -> None:
        self.initial: Addresses = frozenset()
        self.tls_name: str | None = host
        self._host = host
        self._port = port
        self._every_seconds = every_seconds

    async def changes(self) -> AsyncIterator[Addresses]:
        """The addresses, whenever they are others than before."""
        known: Addresses = self.initial
        while True:
            found = await self._resolved()
            if found and found != known:
                known = found
                yield found
            await asyncio.sleep(self._every_seconds)

    async def _resolved(self) -> Addresses:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            telemetry.logger().warning("name not resolved", host=self._host, error=str(error))
            return frozenset()
        return frozenset(joined(str(address[0]), self._port) for *_, address in found)


def joined(host: str, port: int) -> str:
    """`host:port`, with the brackets that an IPv6 address needs."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        version = 4
    return f"[{host}]:{port}" if version == 6 else f"{host}:{port}"
