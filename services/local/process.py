"""One supervised process: its command, its log, its health, its end."""

import ctypes
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.common.errors import Unavailable

# glibc gives large blocks back to the kernel as soon as they are freed and faults each page in again for the next
# tensor. Kept instead, up to 32 MiB a block (the most that glibc takes), they are ready for the next step.
KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "268435456"}
LOG_TAIL_LINES = 30
MAX_LOG_BYTES = 64 * 2**20
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class ProcessSpec:
    """What to run and how to tell that it is ready.

    Attributes:
        name: short name, first in each of its log lines.
        command: program and arguments.
        environment: its whole environment.
        is_ready: answers at once, True when the process serves.
        start_timeout_seconds: time it has to become ready.
        stop_timeout_seconds: time it has to end after SIGTERM before it is killed.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    is_ready: Callable[[], bool]
    start_timeout_seconds: float = 120.0
    stop_timeout_seconds: float = 25.0


@dataclass
class ManagedProcess:
    """A running ProcessSpec whose output goes line by line to a file and to `on_line(name, line)`."""

    spec: ProcessSpec
    log_path: Path
    on_line: Callable[[str, str], None]
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_TAIL_LINES))
    popen: subprocess.Popen[str] | None = None
    _pump: threading.Thread | None = None

    def start(self) -> None:
        """Start the process. Call it from the main thread only: the process ends with the thread that made it."""
        self.popen = subprocess.Popen(
            list(self.spec.command),
            env=dict(self.spec.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C must reach the supervisor alone, which then stops its processes in order.
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        self._pump = threading.Thread(target=self._pump_lines, args=(self.popen,), daemon=True)
        self._pump.start()

    @property
    def exit_code(self) -> int | None:
        """The exit code, or None while it runs or before it was started."""
        return self.popen.poll() if self.popen else None

    @property
    def pid(self) -> int | None:
        """Its process id, once started."""
        return self.popen.pid if self.popen else None

    def wait_ready(self) -> None:
        """Wait until the process serves.

        Raises:
            Unavailable: it ended, or was not ready in time; the message carries the end of its log.
        """
        deadline = time.monotonic() + self.spec.start_timeout_seconds
        while time.monotonic() < deadline:
            if self.exit_code is not None:
                raise Unavailable(self._report(f"ended with code {self.exit_code} while starting"))
            if self.spec.is_ready():
                return
            time.sleep(0.05)
        raise Unavailable(self._report(f"was not ready after {self.spec.start_timeout_seconds:.0f} s"))

    def stop(self) -> None:
        """End it: SIGTERM, then SIGKILL when its time is over."""
        if self.popen is None:
            return
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(self.spec.stop_timeout_seconds)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        if self._pump:
            self._pump.join(timeout=2)

    def _report(self, what: str) -> str:
        if self._pump:
            self._pump.join(timeout=0.5)
        return f"{self.spec.name} {what}. Log: {self.log_path}\n" + "\n".join(list(self.tail)[-8:])

    def _pump_lines(self, popen: subprocess.Popen[str]) -> None:
        if popen.stdout is None:
            return
        written = 0
        with self.log_path.open("a", buffering=1) as log:
            for line in popen.stdout:
                line = line.rstrip("\n")
                self.tail.append(line)
                self.on_line(self.spec.name, line)
                if written < MAX_LOG_BYTES:
                    written += log.write(line + "\n")


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
