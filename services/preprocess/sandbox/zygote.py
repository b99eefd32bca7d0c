"""A process that has imported everything and forks children on demand.

The service itself must not fork: gRPC runs threads. So it starts this module as a fresh program and asks it over a
control socket. A fork costs a few milliseconds and is done ahead of need, so a recording waits for no import.

    service to zygote   "fork" with one end of a stream socket
    zygote to service   {"ready": pid} once; {"born": pid} with the child's pidfd, or {"failed": errno};
                        {"died": pid, "exit_code": n}

When the service goes away the control socket ends, the zygote ends, and its children die with it.
"""

import gc
import json
import os
import selectors
import signal
import socket
import sys
import tempfile

from services.preprocess.domain import Limits
from services.preprocess.sandbox import child
from services.preprocess.sandbox.control import MAX_CONTROL_BYTES
from services.preprocess.sandbox.rehearsal import MEL_BINS, import_everything, rehearse


class Zygote:
    """Forks on request and reports each child's end."""

    def __init__(self, control: socket.socket, limits: Limits) -> None:
        self._control = control
        self._limits = limits
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)

    def serve(self) -> None:
        """Until the service goes away."""
        self._tell({"ready": os.getpid()})
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._bury(key.fd, key.data)
                elif not self._hear():
                    return

    def _hear(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, MAX_CONTROL_BYTES, 1)
        if not message:
            return False
        self._fork(descriptors[0])
        os.close(descriptors[0])
        return True

    def _fork(self, connection_fd: int) -> None:
        try:
            with tempfile.TemporaryFile(dir=self._limits.spool_dir, buffering=0) as spool_file:
                pid = os.fork()
                if pid == 0:
                    child.main(connection_fd, spool_file.fileno(), self._limits)
        except OSError as error:
            self._tell({"failed": error.errno or 0})
            return
        pidfd = os.pidfd_open(pid)
        self._selector.register(pidfd, selectors.EVENT_READ, data=pid)
        self._tell({"born": pid}, [pidfd])

    def _bury(self, pidfd: int, pid: int) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        self._tell({"died": pid, "exit_code": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: dict[str, int], descriptors: list[int] | None = None) -> None:
        socket.send_fds(self._control, [json.dumps(message).encode()], descriptors or [])


def main(arguments: list[str]) -> None:
    """`zygote CONTROL_FD LIMITS_JSON`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A terminal sends these to the whole group; the service decides when its children end.
        signal.signal(number, signal.SIG_IGN)
    limits = Limits(**json.loads(arguments[1]))
    control = socket.socket(fileno=int(arguments[0]))
    import_everything()
    for mel_bins in MEL_BINS:
        rehearse(limits, mel_bins)
    gc.collect()
    gc.freeze()
    Zygote(control, limits).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
