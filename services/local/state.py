"""What `auricle up` leaves for `auricle down`: who runs the platform, and where."""

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from services.common.errors import FailedPrecondition

DEFAULT_HOME = Path("~/.local/share/auricle")


def default_home() -> Path:
    """The folder of the platform's data on one machine: AURICLE_HOME, or a folder of the user's."""
    return Path(os.environ.get("AURICLE_HOME", DEFAULT_HOME)).expanduser().absolute()


@dataclass(frozen=True)
class RunningPlatform:
    """A platform that runs: its supervisor's process id, its public address and its model."""

    pid: int
    address: str
    model: str

    def is_alive(self) -> bool:
        """True while the supervisor runs."""
        try:
            # A zombie still takes signals, but runs nothing.
            return "\nState:\tZ" not in Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return False

    def stop(self, timeout_seconds: float) -> None:
        """Ask the supervisor to stop everything and wait for it.

        Raises:
            FailedPrecondition: it still runs after the time given.
        """
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + timeout_seconds
        while self.is_alive():
            if time.monotonic() > deadline:
                raise FailedPrecondition(f"process {self.pid} still runs after {timeout_seconds:.0f} s")
            time.sleep(0.1)


def write(home: Path, running: RunningPlatform) -> None:
    """Record the running platform."""
    home.mkdir(parents=True, exist_ok=True)
    _path(home).write_text(json.dumps(asdict(running)))


def read(home: Path) -> RunningPlatform | None:
    """The platform that runs from this home, or None."""
    try:
        running = RunningPlatform(**json.loads(_path(home).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return running if running.is_alive() else None


def clear(home: Path) -> None:
    """Forget the platform that ran."""
    _path(home).unlink(missing_ok=True)


def _path(home: Path) -> Path:
    return home / "platform.json"
