"""Which objects a job may name, and a recording that is kept once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.common.errors import AuricleError, InvalidArgument, NotFound, Unavailable
from services.common.object_store import objects_under, open_store
from services.common.outbound import Outbound
from services.jobstore.blobs import JobBlobs
from services.jobstore.object_uris import ObjectUris
from services.jobstore.uri_sources import UriSettings, uri_sources

pytestmark = pytest.mark.unit


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    for name in ("ann/a.wav", "bob/b.wav", "common/deep/c.wav", "private/d.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode() * 1000)
    return tmp_path


def uris(shelf: Path) -> ObjectUris:
    return ObjectUris([f"{shelf.as_uri()}/{{tenant}}/", f"{shelf.as_uri()}/common/"])


async def test_allowed_objects_are_measured_and_read(shelf: Path) -> None:
    for name in ("ann/a.wav", "common/deep/c.wav"):
        uri = f"{shelf.as_uri()}/{name}"
        assert await uris(shelf).size_bytes("ann", uri, "uri") == len(name) * 1000
        assert b"".join([chunk async for chunk in uris(shelf).chunks("ann", uri, "uri")]) == name.encode() * 1000


@pytest.mark.parametrize(
    "place",
    [
        *("bob/b.wav", "private/d.wav", "ann/../bob/b.wav", "common/../private/d.wav", "common/./deep/c.wav"),
        *("common//deep/c.wav", "common/", "common", "commonplace/x", "common/deep/\\..\\c.wav", "common/a\nb"),
        *("common/%2e%2e/private/d.wav", "common/" + "a" * 2048),
    ],
)
async def test_objects_outside_of_the_callers_folders_are_not_there_for_it(shelf: Path, place: str) -> None:
    with pytest.raises(AuricleError) as raised:
        await uris(shelf).size_bytes("ann", f"{shelf.as_uri()}/{place}", "uri")
    # A percent sign is a letter like others: such a key is allowed, and there is no such object.
    expected = (NotFound, "AUDIO_NOT_FOUND") if "%" in place else (InvalidArgument, "URI_NOT_ALLOWED")
    assert (type(raised.value), raised.value.reason) == expected


async def test_nothing_may_be_read_until_prefixes_are_named(shelf: Path) -> None:
    with pytest.raises(InvalidArgument):
        await ObjectUris([]).size_bytes("ann", f"{shelf.as_uri()}/ann/a.wav", "uri")


@pytest.mark.parametrize("prefix", ["s3://bucket", "https://host/a/", "bucket/a/", "memory:///", "s3:///x y/"])
def test_a_prefix_is_a_folder_of_an_object_store(prefix: str) -> None:
    with pytest.raises(ValidationError, match="ends with /"):
        UriSettings(uri_prefixes=(prefix,))


async def test_a_larger_object_than_the_limit_is_refused(shelf: Path) -> None:
    settings = UriSettings(uri_prefixes=(f"{shelf.as_uri()}/common/",), uri_max_bytes=5000)
    sources = uri_sources(settings, Outbound(settings.outbound_rules))
    uri = f"{shelf.as_uri()}/common/deep/c.wav"
    with pytest.raises(InvalidArgument) as raised:
        await sources.check("ann", uri)
    assert raised.value.reason == "AUDIO_TOO_LARGE"
    with pytest.raises(InvalidArgument) as raised:
        async with sources.open("ann", uri) as chunks:
            _ = [chunk async for chunk in chunks]
    assert raised.value.reason == "AUDIO_TOO_LARGE"


async def pieces(*chunks: bytes | Exception) -> AsyncIterator[bytes]:
    for chunk in chunks:
        if isinstance(chunk, Exception):
            raise chunk
        yield chunk


async def test_the_first_whole_copy_of_a_recording_is_the_jobs_for_good(tmp_path: Path) -> None:
    blobs = JobBlobs(tmp_path.as_uri())
    with pytest.raises(Unavailable, match="gone"):
        await blobs.put_source("ann", "1", "aaa", pieces(b"half", Unavailable("gone")))
    assert not await blobs.has_source("ann", "1")
    await blobs.put_source("ann", "1", "bbb", pieces(b"whole", b" one"))
    # A worker that was held up for long and does not know that its lease is lost.
    await blobs.put_source("ann", "1", "ccc", pieces(b"other"))
    assert await blobs.has_source("ann", "1")
    assert b"".join([chunk async for chunk in blobs.source("ann", "1", 100)]) == b"whole one"
    await blobs.delete_job("ann", "1")
    assert await objects_under(open_store(tmp_path.as_uri()), "jobs") == []
