"""Which addresses the platform may call because a caller asked it to.

Nothing is allowed until settings name hosts. A name is allowed by its letters, and then every address that it resolves
to must be public: what a caller cannot reach must not be reached for it (SSRF).
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.common.errors import FailedPrecondition, InvalidArgument

MAX_URL_CHARS = 2_048
HTTPS_PORT = 443
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
# Printable ASCII without spaces and backslashes, which parsers read differently.
_PLAIN = re.compile(r"[!-\[\]-~]*")
_GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")
# Within the global ranges, but no hosts of the public internet (IANA's special-purpose registries): protocol
# assignments, 6to4 relays, 6to4, Teredo and its neighbors, documentation; and where Azure's machines ask for secrets.
_NOT_HOSTS: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "2001::/23", "2002::/16", "3fff::/20")
)


@dataclass(frozen=True)
class Target:
    """A URL that is allowed, taken apart: what is called is what was checked."""

    host: str
    port: int
    path_and_query: str


@dataclass(frozen=True)
class OutboundRules:
    """The rules.

    Attributes:
        hosts: that URLs may name: "host.example", "*.example" for all below it, "*" for any.
        ports: that URLs may name.
        networks: let in although they are not public.
    """

    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = (HTTPS_PORT,)
    networks: tuple[Network, ...] = ()

    def check_url(self, url: str, field: str) -> Target:
        """The URL's parts.

        Args:
            url: what the caller gave.
            field: its place in the request.

        Raises:
            InvalidArgument: it breaks a rule (URL_NOT_ALLOWED).
        """
        if len(url) > MAX_URL_CHARS or not _PLAIN.fullmatch(url):
            raise _not_allowed(field, f"must have at most {MAX_URL_CHARS} characters, all of printable ASCII")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or HTTPS_PORT
        except ValueError:
            raise _not_allowed(field, "is no URL") from None
        if parts.scheme != "https":
            raise _not_allowed(field, "must begin with https://")
        if "@" in parts.netloc:
            raise _not_allowed(field, "must not carry credentials")
        if "#" in url:
            raise _not_allowed(field, "must not have a fragment")
        if not _HOST.fullmatch(host) or not self._names(host):
            raise _not_allowed(field, f"host {host[:80]!r} is not among those that this platform may call")
        if port not in self.ports:
            raise _not_allowed(field, f"port {port} is not among those that this platform may call")
        return Target(host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))

    def check_addresses(self, host: str, addresses: Iterable[str]) -> None:
        """Refuse a host of which any address is not public: one of them would do to get in.

        Raises:
            FailedPrecondition: one is not (URL_ADDRESS_NOT_PUBLIC); which, is not told.
        """
        if not all(self._lets_in(address) for address in addresses):
            raise FailedPrecondition(
                f"{host} has an address that is not public", reason="URL_ADDRESS_NOT_PUBLIC", metadata={"host": host}
            )

    def _names(self, host: str) -> bool:
        return any(
            rule in ("*", host) or (rule.startswith("*.") and host.endswith(rule[1:]))
            for rule in map(str.lower, self.hosts)
        )

    def _lets_in(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if any(address in network for network in self.networks):
            return True
        # IPv4 in the clothes of IPv6 (mapped, translated, compatible) lies outside of 2000::/3.
        if address.version == 6 and address not in _GLOBAL_IPV6:
            return False
        special = address.is_multicast or address.is_reserved or any(address in network for network in _NOT_HOSTS)
        return address.is_global and not special


def _not_allowed(field: str, description: str) -> InvalidArgument:
    return InvalidArgument.of_field(field, description, reason="URL_NOT_ALLOWED")
