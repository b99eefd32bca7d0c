"""Admission: so many recordings at once, so many in the queue, and a few children always ready."""

import asyncio
from collections import deque

from services.common import telemetry
from services.preprocess import metrics
from services.preprocess.children import Child, Zygote, start_zygote
from services.preprocess.errors import Busy
from services.preprocess.settings import PreprocessSettings

RETRY_AFTER_SECONDS = 1.0
# Making a child takes processor time that the call which took the last one needs more, as long as others stand ready.
REFILL_DELAY_SECONDS = 0.3


class Lease:
    """A place and its child, for one recording. `end` gives the place back and kills the child; once is enough."""

    def __init__(self, child: Child, places: asyncio.Semaphore) -> None:
        self.child = child
        self._places = places
        self._ended = False
        metrics.BUSY_CHILDREN.inc()

    def end(self) -> None:
        """Free the place at once, whatever the child is doing."""
        if not self._ended:
            self._ended = True
            metrics.BUSY_CHILDREN.dec()
            self.child.kill()
            self._places.release()


class ChildPool:
    """Single-use children under a common limit. Owns the zygote and starts it again when it has ended."""

    def __init__(self, settings: PreprocessSettings) -> None:
        self._settings = settings
        self._places = asyncio.Semaphore(settings.max_concurrent)
        self._waiting = 0
        self._idle: deque[Child] = deque()
        self._zygote: Zygote | None = None
        self._starting = asyncio.Lock()
        self._refilling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the zygote and the first idle children."""
        await self._refill()

    async def close(self) -> None:
        """End every process."""
        if self._refilling:
            self._refilling.cancel()
        for child in self._idle:
            child.kill()
        if self._zygote:
            await self._zygote.close()

    async def take(self) -> Lease:
        """A child for one recording.

        Raises:
            Busy: too many wait already, or no place came free in time.
            ChildLost: no child can be made.
        """
        await self._wait_for_place()
        try:
            lease = Lease(await self._ready_child(), self._places)
        except BaseException:
            self._places.release()
            raise
        self._refill_soon()
        return lease

    async def _wait_for_place(self) -> None:
        if self._places.locked() and self._waiting >= self._settings.max_queue:
            raise _busy(f"{self._waiting} recordings wait already")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._settings.max_queue_seconds):
                await self._places.acquire()
        except TimeoutError:
            raise _busy(f"no place came free within {self._settings.max_queue_seconds:g} s") from None
        finally:
            self._waiting -= 1

    async def _ready_child(self) -> Child:
        while self._idle:
            child = self._idle.popleft()
            if not child.exit_code.done():
                return child
            child.kill()
        return await (await self._living_zygote()).fork()

    async def _living_zygote(self) -> Zygote:
        async with self._starting:
            if self._zygote is None or self._zygote.ended:
                if self._zygote:
                    telemetry.logger().error("the zygote has ended and is started again")
                self._zygote = await start_zygote(self._settings.limits())
            return self._zygote

    def _refill_soon(self) -> None:
        if self._refilling is None or self._refilling.done():
            self._refilling = asyncio.create_task(self._refill_or_log())

    async def _refill_or_log(self) -> None:
        try:
            if self._idle:
                await asyncio.sleep(REFILL_DELAY_SECONDS)
            await self._refill()
        except Exception as error:
            # The next call tries again and tells its caller when it fails.
            telemetry.logger().error("no idle child could be made", exc_info=error)

    async def _refill(self) -> None:
        zygote = await self._living_zygote()
        while len(self._idle) < self._settings.idle_children:
            self._idle.append(await zygote.fork())


def _busy(why: str) -> Busy:
    return Busy(f"every place is taken and {why}", retry_after_seconds=RETRY_AFTER_SECONDS)
