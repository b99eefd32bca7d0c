"""Ties the server to the process that runs the model: when the model's process dies, the server ends too.

Triton 2.51 goes on saying that it is ready after its Python stub was killed (by the kernel for want of memory, say)
while every call fails. Ended, it is started again by whoever supervises it. It is killed, because told to stop it waits
for the dead stub until its exit timeout.
"""

import subprocess
from pathlib import Path

_RELEASED = "released"
# The shell's read ends with nothing when the process that holds the other end of the pipe is gone.
_WATCH = f'read -r word; [ "$word" = {_RELEASED} ] || {{ kill -KILL "$1"; shift; rm -f "$@"; }}'


class Lifeline:
    """Kills process `server_pid` when this process ends without having called `release`.

    Removes the shared memory that this process maps as well, since then neither of its two owners can.
    """

    def __init__(self, server_pid: int) -> None:
        command = ["/bin/sh", "-c", _WATCH, "lifeline", str(server_pid), *mapped_shared_memory()]
        self._watcher = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)

    def release(self) -> None:
        """End the watch."""
        self._watcher.communicate(f"{_RELEASED}\n")


def mapped_shared_memory() -> list[str]:
    """Files in /dev/shm that are part of this process's memory."""
    fields = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    return sorted({line[5] for line in fields if len(line) == 6 and line[5].startswith("/dev/shm/")})
