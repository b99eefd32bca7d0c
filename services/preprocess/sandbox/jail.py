"""What a child may use: its socket, its spool, so much memory and processor time. Nothing else."""

import ctypes
import fcntl
import os
import resource
import signal

from services.preprocess.domain import Limits
from services.preprocess.sandbox import syscall_filter

SOCKET_FD = 3
SPOOL_FD = 4
_FIRST_FORBIDDEN_FD = 5
_FIRST_FREE_FD = 16
_PR_SET_PDEATHSIG = 1


def keep_two_files(socket_fd: int, spool_fd: int) -> None:
    """Move the socket and the spool to SOCKET_FD and SPOOL_FD; close every other descriptor but the standard three."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _FIRST_FREE_FD) for fd in (socket_fd, spool_fd)]
    os.dup2(high[0], SOCKET_FD)
    os.dup2(high[1], SPOOL_FD)
    os.closerange(_FIRST_FORBIDDEN_FD, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def lock(limits: Limits) -> None:
    """Bind this process to the limits, for good. It dies with its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # At the soft limit comes SIGXCPU, which tells this end from others; the hard limit kills.
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 1))
    for kind, value in (
        (resource.RLIMIT_AS, _address_space_bytes() + limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.spool_bytes),
        (resource.RLIMIT_NOFILE, _FIRST_FORBIDDEN_FD),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))
    if syscall_filter.is_supported():
        syscall_filter.install()


def _address_space_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()
