"""The outside's hold on the zygote and on each child: to fork, to talk, to kill."""

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from services.preprocess import wire
from services.preprocess.domain import Limits, Refusal, Summary, Window
from services.preprocess.errors import ChildLost
from services.preprocess.sandbox.control import FORK, MAX_CONTROL_BYTES
from services.preprocess.wire import Kind

ZYGOTE_MODULE = "services.preprocess.sandbox.zygote"
START_SECONDS = 60.0
STOP_SECONDS = 5.0
# Bytes of a recording that may wait in this process for its child.
WRITE_BUFFER_BYTES = 2**18
READ_BUFFER_BYTES = 2**20
# One thread a child: its matrices are small, and a process with threads must not fork.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_KILLED = -signal.SIGKILL


class ChildEnded(Exception):
    """The child closed its end without a last message; its exit code tells why."""


@dataclass(frozen=True)
class Birth:
    """A process as its maker announces it. `pidfd` names it for signals; `exit_code` is set when it has ended."""

    pid: int
    pidfd: int
    exit_code: asyncio.Future[int]


class Child:
    """A process that hears one recording. Owned by whoever took it; ended with `kill`."""

    def __init__(self, birth: Birth, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = birth.pid
        self.exit_code = birth.exit_code
        self._pidfd = birth.pidfd
        self._reader = reader
        self._writer = writer
        self._killed = False

    async def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Send one message; waits while the child is behind.

        Raises:
            ConnectionError: the child has ended.
        """
        self._writer.write(wire.header(kind, len(payload)) + payload)
        await self._writer.drain()

    async def receive(self) -> Window | Summary | Refusal:
        """The child's next message.

        Raises:
            ChildEnded: there is none.
            wire.WireError: it broke the protocol.
        """
        try:
            kind, length = wire.parse_header(await self._reader.readexactly(wire.HEADER.size))
            return wire.unpack_result(kind, await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ChildEnded from error

    def kill(self) -> None:
        """End the process at once. Harmless when it has ended by itself."""
        if self._killed:
            return
        self._killed = True
        # A pidfd names this very process, even when its number has been given to another.
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(self._pidfd)
            self._writer.transport.abort()


class Zygote:
    """The outside's end of `sandbox.zygote`. Make it with `start_zygote`."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._births: deque[asyncio.Future[Birth]] = deque()
        self._exit_codes: dict[int, asyncio.Future[int]] = {}
        self.ended = False
        control.setblocking(False)
        asyncio.get_running_loop().add_reader(control, self._hear)

    async def ready(self) -> None:
        """Wait until it can fork.

        Raises:
            ChildLost: it ended instead; its own words are on standard error.
        """
        async with asyncio.timeout(START_SECONDS):
            await self._ready

    async def fork(self) -> Child:
        """A new child, ready for an order.

        Raises:
            ChildLost: the zygote has ended.
        """
        if self.ended:
            raise _lost()
        ours, theirs = socket.socketpair()
        try:
            birth = await self._birth(theirs)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        try:
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=READ_BUFFER_BYTES)
        except BaseException:
            # Without its socket the child ends by itself.
            ours.close()
            os.close(birth.pidfd)
            raise
        writer.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        return Child(birth, reader, writer)

    async def close(self) -> None:
        """End the zygote and, with it, every child."""
        self._end()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()

    async def _birth(self, connection: socket.socket) -> Birth:
        birth: asyncio.Future[Birth] = asyncio.get_running_loop().create_future()
        try:
            socket.send_fds(self._control, [FORK], [connection.fileno()])
        except OSError as error:
            raise _lost() from error
        self._births.append(birth)
        return await birth

    def _hear(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, MAX_CONTROL_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._end()
            return
        facts = json.loads(message)
        if "ready" in facts:
            self._ready.set_result(None)
        elif "born" in facts:
            self._born(facts["born"], descriptors[0])
        elif "failed" in facts:
            self._unborn(os.strerror(facts["failed"]))
        else:
            self._exit_codes.pop(facts["died"]).set_result(facts["exit_code"])

    def _born(self, pid: int, pidfd: int) -> None:
        exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._exit_codes[pid] = exit_code
        birth = self._births.popleft()
        if birth.cancelled():
            # Nobody waits any more: its socket is closed, so the child ends by itself.
            os.close(pidfd)
        else:
            birth.set_result(Birth(pid, pidfd, exit_code))

    def _unborn(self, why: str) -> None:
        birth = self._births.popleft()
        if not birth.cancelled():
            birth.set_exception(ChildLost(f"no process could be made to hear the recording: {why}"))

    def _end(self) -> None:
        if self.ended:
            return
        self.ended = True
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        unanswered: list[asyncio.Future[Any]] = [self._ready, *self._births]
        for future in unanswered:
            if not future.done():
                future.set_exception(_lost())
        for exit_code in self._exit_codes.values():
            exit_code.set_result(_KILLED)
        self._exit_codes.clear()


def _lost() -> ChildLost:
    return ChildLost("the process that hears recordings has ended; it is started again", retry_after_seconds=1.0)


async def start_zygote(limits: Limits) -> Zygote:
    """Start the process that forks children; returns when it can."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arguments = ["-m", ZYGOTE_MODULE, str(theirs.fileno()), json.dumps(asdict(limits))]
    # Only what Python needs to start: a sandbox has no use for the service's keys and addresses.
    environment = {
        **_ONE_THREAD,
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path) or ".",
        "TMPDIR": tempfile.gettempdir(),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment, pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL
    )
    theirs.close()
    zygote = Zygote(process, ours)
    await zygote.ready()
    return zygote
