"""One call: the caller's bytes go to a child, the child's windows come back, and the clock is kept.

Whatever goes wrong has one effect: the first cause is noted and the child is killed. The end of the child's stream is
then the only signal that the reading side waits for.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

from services.common import deadlines, telemetry
from services.common.errors import AuricleError, DeadlineExceeded, Internal
from services.preprocess import wire
from services.preprocess.children import ChildEnded
from services.preprocess.domain import Order, Reason, Refusal, Summary, Window
from services.preprocess.errors import ChildLost, ReaderStalled, of_refusal
from services.preprocess.pool import Lease
from services.preprocess.settings import PreprocessSettings
from services.preprocess.upload import Upload
from services.preprocess.wire import Kind

BURIAL_SECONDS = 5.0


class Hearing:
    """One recording on its way through one child.

    Args:
        lease: the child; ended when the hearing ends.
        upload: where the recording comes from.
        settings: the limits of time.
        hang_up: ends the call from outside with an error, when its caller does not take what it is given.
    """

    def __init__(
        self,
        lease: Lease,
        upload: Upload,
        settings: PreprocessSettings,
        hang_up: Callable[[AuricleError], Awaitable[None]],
    ) -> None:
        self._lease = lease
        self._child = lease.child
        self._upload = upload
        self._settings = settings
        self._hang_up = hang_up
        self._cause: Exception | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def results(self, order: Order) -> AsyncIterator[Window | Summary]:
        """Windows, then the summary. The lease is ended when this ends, however it ends.

        Raises:
            AuricleError: the recording was refused, or a limit of time or size was met.
        """
        loop = asyncio.get_running_loop()
        passed = DeadlineExceeded("the deadline of the call has passed")
        deadline = loop.call_later(deadlines.remaining_seconds(), self._fail, passed)
        uploading = self._start(self._send(order))
        try:
            while True:
                result = await self._next()
                patience = loop.call_later(self._settings.reader_stall_seconds, self._reader_stalled, uploading)
                yield result
                patience.cancel()
                if isinstance(result, Summary):
                    return
        except AuricleError:
            await self._hear_out(uploading)
            raise
        finally:
            deadline.cancel()
            self._lease.end()
            for task in self._tasks:
                task.cancel()

    def _start(self, work: Awaitable[None]) -> "asyncio.Task[None]":
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        return task

    def _fail(self, cause: Exception) -> None:
        self._cause = self._cause or cause
        self._lease.end()

    async def _send(self, order: Order) -> None:
        """The recording to the child; when the child has ended, to nowhere."""
        try:
            await self._child.send(Kind.ORDER, wire.pack_order(order))
            while (chunk := await self._upload.next_chunk()) is not None:
                await self._child.send(Kind.CHUNK, chunk)
            await self._child.send(Kind.END)
        except ConnectionError:
            # The reading side finds out why.
            await self._upload.discard()
        except Exception as error:
            self._fail(error)
            await self._upload.discard()

    async def _hear_out(self, uploading: "asyncio.Task[None]") -> None:
        self._lease.end()
        await asyncio.wait({uploading}, timeout=self._settings.farewell_seconds)

    def _reader_stalled(self, uploading: "asyncio.Task[None]") -> None:
        self._start(self._give_up_reader(uploading))

    async def _give_up_reader(self, uploading: "asyncio.Task[None]") -> None:
        """While a window waits for its reader, `results` is suspended and can raise nothing itself."""
        seconds = self._settings.reader_stall_seconds
        error = ReaderStalled(f"a window waited {seconds:g} s for its reader; read windows while sending the recording")
        self._fail(error)
        await self._hear_out(uploading)
        await self._hang_up(error)

    async def _next(self) -> Window | Summary:
        if self._cause:
            raise self._cause
        try:
            result = await self._child.receive()
        except ChildEnded:
            raise self._cause or await self._why_it_ended() from None
        except wire.WireError as error:
            telemetry.logger().error("a child broke the protocol", pid=self._child.pid, exc_info=error)
            raise _crashed("the decoder") from error
        if isinstance(result, Refusal):
            raise of_refusal(result)
        return result

    async def _why_it_ended(self) -> AuricleError:
        async with asyncio.timeout(BURIAL_SECONDS):
            exit_code = await asyncio.shield(self._child.exit_code)
        telemetry.logger().error("a child ended", pid=self._child.pid, exit_code=exit_code)
        if exit_code == -signal.SIGXCPU:
            seconds = self._settings.child_cpu_seconds
            message = f"hearing this recording takes more than the {seconds} s of processor time that are given to it"
            return of_refusal(Refusal(Reason.AUDIO_CPU_EXCEEDED, message, {"limit_seconds": str(seconds)}))
        if exit_code == -signal.SIGKILL:
            return ChildLost("the process that heard the recording was ended from outside", retry_after_seconds=1.0)
        if exit_code < 0:
            return _crashed(f"the decoder ({signal.Signals(-exit_code).name})")
        return Internal(f"a child ended with exit code {exit_code}")


def _crashed(what: str) -> AuricleError:
    return of_refusal(Refusal(Reason.AUDIO_CRASHED_DECODER, f"this recording crashed {what}", {}))
