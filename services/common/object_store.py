"""The object store: a local folder, S3, GCS, Azure, or memory for tests, through obstore."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from services.common import telemetry
from services.common.errors import Unavailable

# Objects that are streamed in go as parts of this size; S3 takes none below 5 MiB but the last.
PART_BYTES = 5 * 2**20
_PARTS_AT_ONCE = 2


def open_store(url: str) -> Any:
    """The store at a URL; file:// makes the folder when it is missing. Every memory:// is a store of its own."""
    local = obstore.parse_scheme(url) == "local"
    # Without its cleanup of empty folders: a write beside a removal would now and then find its folder gone.
    return from_url(url, mkdir=True) if local else from_url(url)


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Errors of the store in the block become one that a caller may see; the log has the rest.

    Args:
        what: the store keeps, such as "the uploads".

    Raises:
        Unavailable: the store failed (STORE_UNAVAILABLE).
    """
    try:
        yield
    except (BaseError, OSError) as error:
        telemetry.logger().error("object store", error=f"{type(error).__name__}: {error}")
        raise Unavailable(f"the store of {what} failed", reason="STORE_UNAVAILABLE", retry_after_seconds=1.0) from error


async def write_stream(store: Any, path: str, chunks: AsyncIterator[bytes]) -> None:
    """Write an object as its bytes come, in flat memory. It appears whole at the end, or not at all."""
    await obstore.put_async(store, path, chunks, chunk_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE)


async def write_new(store: Any, path: str, data: bytes) -> bool:
    """Write a small object unless one is there; False when one is. Of several writers one wins."""
    try:
        await obstore.put_async(store, path, data, mode="create", use_multipart=False)
    except AlreadyExistsError:
        return False
    return True


async def read_chunks(store: Any, path: str, chunk_bytes: int) -> AsyncIterator[bytes]:
    """An object in chunks of at most `chunk_bytes`, never all of it in memory. Raises FileNotFoundError."""
    found = await obstore.get_async(store, path)
    async for block in found.stream(min_chunk_size=chunk_bytes):
        view = memoryview(block)
        for start in range(0, len(view), chunk_bytes):
            yield bytes(view[start : start + chunk_bytes])


async def objects_under(store: Any, folder: str) -> list[Any]:
    """Path, size and time of every object in a folder, in no order."""
    return [meta async for batch in obstore.list(store, folder) for meta in batch]


async def remove(store: Any, path: str) -> None:
    """Remove an object; one that is not there is none to be removed."""
    try:
        await obstore.delete_async(store, path)
    except FileNotFoundError:
        telemetry.logger().debug("already removed by another", path=path)
