"""Where the engine's thread hands an answer over to its reader on the event loop."""

import asyncio
from collections import deque

from services.common.errors import AuricleError, ResourceExhausted
from services.decoder.engine import TokenEvent


class Outlet:
    """A bounded queue of one answer's pieces; all of it happens on the event loop.

    Args:
        max_unread: pieces that may wait for their reader.
    """

    def __init__(self, max_unread: int) -> None:
        self._max_unread = max_unread
        self._events: deque[TokenEvent] = deque()
        self._error: AuricleError | None = None
        self._arrived = asyncio.Event()
        self.closed = False

    def put(self, item: TokenEvent | AuricleError) -> None:
        """Take a piece, or the error that ends the answer; the last one closes the outlet.

        A reader that is too far behind ends the answer with an error.
        """
        if self.closed:
            return
        if isinstance(item, TokenEvent) and len(self._events) >= self._max_unread:
            item = ResourceExhausted(
                f"the caller left {self._max_unread} pieces of the answer unread", reason="READER_TOO_SLOW"
            )
        if isinstance(item, AuricleError):
            self._events.clear()
            self._error = item
        else:
            self._events.append(item)
        self.closed = isinstance(item, AuricleError) or item.finish is not None
        self._arrived.set()

    async def get(self) -> TokenEvent:
        """The next piece; raises the error that ended the answer."""
        while not self._events:
            if self._error is not None:
                raise self._error
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()
