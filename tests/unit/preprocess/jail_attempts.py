"""A program that attempts to leave the sandbox, each time in a jailed process of its own; prints outcomes as JSON."""

import json
import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import replace

from services.preprocess.sandbox import jail
from tests.unit.preprocess.chain import LIMITS

DONE = 42
REFUSED = 43
SPOOL_BYTES = 1000
MEMORY_BYTES = 2**26
CPU_SECONDS = 1


def use_what_it_has() -> None:
    """What a child must be able to do."""
    os.write(jail.SOCKET_FD, b"hello")
    os.write(jail.SPOOL_FD, bytes(SPOOL_BYTES))
    os.lseek(jail.SPOOL_FD, 0, os.SEEK_SET)
    if len(os.read(jail.SPOOL_FD, 2 * SPOOL_BYTES)) != SPOOL_BYTES or len(bytearray(MEMORY_BYTES // 2)) == 0:
        raise RuntimeError


def write_past_its_spool() -> None:
    """The limit is the spool's size."""
    os.write(jail.SPOOL_FD, bytes(SPOOL_BYTES))
    os.write(jail.SPOOL_FD, b"x")


def spin() -> None:
    """Take processor time for ever."""
    while True:
        pass


ATTEMPTS: dict[str, Callable[[], object]] = {
    "use what it has": use_what_it_has,
    "spin": spin,
    "open a file": lambda: os.open("/etc/hostname", os.O_RDONLY),
    "write a file": lambda: os.open("/tmp/auricle-escape", os.O_WRONLY | os.O_CREAT),
    "remove a file": lambda: os.unlink(__file__),
    "make a socket": socket.socket,
    "start a process": os.fork,
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "write past its spool": write_past_its_spool,
    "take more memory": lambda: bytearray(2 * MEMORY_BYTES),
    "use another open file": lambda: os.read(jail.SPOOL_FD + 1, 1),
}


def outcome(attempt: Callable[[], object]) -> int:
    """DONE, REFUSED, or the number of the signal that ended the attempt, negative."""
    limits = replace(LIMITS, memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS, spool_bytes=SPOOL_BYTES)
    ours, theirs = socket.socketpair()
    spool_fd, path = tempfile.mkstemp()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            jail.keep_two_files(theirs.fileno(), spool_fd)
            jail.lock(limits)
            attempt()
            code = DONE
        except (OSError, MemoryError):
            code = REFUSED
        finally:
            os._exit(code)
    exit_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(spool_fd)
    os.unlink(path)
    ours.close()
    theirs.close()
    return exit_code


if __name__ == "__main__":
    # A descriptor that stays open on purpose, for the attempt to use it.
    os.set_inheritable(os.open("/dev/zero", os.O_RDONLY), True)
    print(json.dumps({name: outcome(attempt) for name, attempt in ATTEMPTS.items()}))
