"""Recordings behind URIs: https, or object stores."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from pydantic import Field, field_validator

from services.common.outbound import Outbound, bounded, too_large
from services.common.outbound_settings import OutboundSettings, Words, words
from services.jobstore.object_uris import SCHEMES, ObjectUris, is_prefix

FIELD = "analysis_job.audio.uri"


class UriSettings(OutboundSettings):
    """Which URIs a service may read for a caller; the gateway checks them and workers read them, so both need them."""

    uri_prefixes: Words = Field(
        (), description="folders of object stores such as s3://bucket/{tenant}/ that jobs may read; with commas"
    )
    uri_max_bytes: int = Field(4 * 2**30, ge=1, description="largest recording behind a URI")

    @field_validator("uri_prefixes", mode="before")
    @classmethod
    def _split_prefixes(cls, value: object) -> object:
        return words(value)

    @field_validator("uri_prefixes")
    @classmethod
    def _are_prefixes(cls, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [prefix for prefix in prefixes if not is_prefix(prefix)]:
            raise ValueError(f"{wrong[0]!r} is no folder of {', '.join(SCHEMES)} that ends with /")
        return prefixes


class UriSources:
    """Recordings that callers name by URI.

    Args:
        outbound: calls https servers.
        objects: reads object stores.
        limit_bytes: most bytes of a recording.
    """

    def __init__(self, outbound: Outbound, objects: ObjectUris, limit_bytes: int) -> None:
        self._outbound = outbound
        self._objects = objects
        self._limit_bytes = limit_bytes

    async def check(self, tenant: str, uri: str) -> int | None:
        """Tell early what reading would tell; returns the bytes where they are known without reading.

        Raises:
            AuricleError: as `Outbound.check` and `ObjectUris.size_bytes`, or it is too large (AUDIO_TOO_LARGE).
        """
        if _is_web(uri):
            await self._outbound.check(uri, FIELD)
            return None
        size_bytes = await self._objects.size_bytes(tenant, uri, FIELD)
        if size_bytes > self._limit_bytes:
            raise too_large(FIELD, self._limit_bytes)
        return size_bytes

    @asynccontextmanager
    async def open(self, tenant: str, uri: str) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """The recording's bytes as they come, in flat memory.

        Raises:
            AuricleError: as `Outbound.fetch` and `ObjectUris.chunks`, or it is too large (AUDIO_TOO_LARGE).
        """
        if _is_web(uri):
            async with self._outbound.fetch(uri, FIELD, self._limit_bytes) as chunks:
                yield chunks
        else:
            async with aclosing(bounded(self._objects.chunks(tenant, uri, FIELD), FIELD, self._limit_bytes)) as chunks:
                yield chunks


def uri_sources(settings: UriSettings, outbound: Outbound) -> UriSources:
    """The sources that the settings allow."""
    return UriSources(outbound, ObjectUris(settings.uri_prefixes), settings.uri_max_bytes)


def _is_web(uri: str) -> bool:
    # http too: the rules of outbound calls say better than those of object stores what is wrong with it.
    return uri.lower().startswith(("https:", "http:"))
