"""Starts processes in order, restarts what dies, stops all in reverse order."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from services.common.errors import Unavailable
from services.local.process import ManagedProcess, ProcessSpec

MAX_RESTARTS_PER_MINUTE = 5


def _ignore_line(_: str, __: str) -> None:
    return


class Supervisor:
    """A set of processes that live and end together.

    Args:
        specs: what to run, in the order of starting; each is waited for together with the others.
        log_dir: one log file a process.
        on_line: called with (process name, line) for each line of output.
        on_event: called with a sentence when something starts, dies or ends.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        log_dir: Path,
        on_line: Callable[[str, str], None] = _ignore_line,
        on_event: Callable[[str], None] = lambda _: None,
    ) -> None:
        log_dir.mkdir(parents=True, exist_ok=True)
        self.processes = {s.name: ManagedProcess(s, log_dir / f"{s.name}.log", on_line) for s in specs}
        self._on_event = on_event
        self._restarts: dict[str, list[float]] = defaultdict(list)

    def start(self) -> None:
        """Start everything and wait until all serve; on a failure stop what runs and raise Unavailable."""
        try:
            for process in self.processes.values():
                process.start()
            for process in self.processes.values():
                process.wait_ready()
                self._on_event(f"{process.spec.name} is ready (pid {process.pid})")
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Restart what has died. Call it often from the thread that called start().

        Raises:
            Unavailable: a process died more than 5 times within a minute.
        """
        for name, process in self.processes.items():
            if process.exit_code is None:
                continue
            self._on_event(f"{name} ended with code {process.exit_code}; starting it again")
            now = time.monotonic()
            self._restarts[name] = [t for t in self._restarts[name] if now - t < 60] + [now]
            if len(self._restarts[name]) > MAX_RESTARTS_PER_MINUTE:
                raise Unavailable(
                    f"{name} died {MAX_RESTARTS_PER_MINUTE + 1} times within a minute; see {process.log_path}"
                )
            process.start()

    def stop(self) -> None:
        """End everything, the last started first."""
        for process in reversed(self.processes.values()):
            process.stop()
