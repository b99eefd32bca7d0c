"""The rules of outbound calls as settings of a service that makes them."""

import ipaddress
import ssl
from pathlib import Path
from typing import Annotated

import httpcore2
from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from services.common.outbound_rules import HTTPS_PORT, OutboundRules
from services.common.settings import Settings

# Written in the environment as words joined by commas.
Words = Annotated[tuple[str, ...], NoDecode]


def words(value: object) -> object:
    """The words of a text from the environment; anything else as it is."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


class OutboundSettings(Settings):
    """Which addresses a service may call because a caller asked it to; none by default."""

    outbound_hosts: Words = Field(
        (), description="hosts that URLs of recordings and webhooks may name: host.example, *.example or *; with commas"
    )
    outbound_ports: Annotated[tuple[int, ...], NoDecode] = Field(
        (HTTPS_PORT,), description="ports that such URLs may name; with commas"
    )
    outbound_networks: Words = Field(
        (), description="networks such as 10.1.2.0/24 that may be called although they are not public; with commas"
    )
    outbound_ca: Path | None = Field(None, description="PEM authorities to trust beside the public ones")

    @field_validator("outbound_hosts", "outbound_ports", "outbound_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return words(value)

    @field_validator("outbound_networks")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)
        return networks

    @field_validator("outbound_ca")
    @classmethod
    def _can_be_read(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                ssl.create_default_context(cafile=path)
            except OSError as error:
                raise ValueError(f"cannot be read: {error.strerror or error}") from None
        return path

    @property
    def outbound_rules(self) -> OutboundRules:
        """The rules."""
        networks = tuple(ipaddress.ip_network(network) for network in self.outbound_networks)
        return OutboundRules(self.outbound_hosts, self.outbound_ports, networks)

    def outbound_tls(self) -> ssl.SSLContext:
        """Whom to trust."""
        context = httpcore2.default_ssl_context()
        if self.outbound_ca is not None:
            context.load_verify_locations(self.outbound_ca)
        return context
