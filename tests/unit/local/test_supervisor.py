"""Processes start in order, come back when they die, and all end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.common.errors import Unavailable
from services.local.process import ProcessSpec
from services.local.supervisor import Supervisor

pytestmark = pytest.mark.unit


def spec(name: str, script: str, ready: Path | None = None, **fields: float) -> ProcessSpec:
    is_ready = ready.exists if ready else lambda: True
    return ProcessSpec(name, [sys.executable, "-c", script], dict(os.environ), is_ready, **fields)


def sleeper(ready: Path) -> str:
    return f"import pathlib, time; pathlib.Path({str(ready)!r}).touch(); print('up', flush=True); time.sleep(60)"


def wait_for(condition: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_lines_go_to_the_view_and_to_the_log(tmp_path: Path) -> None:
    events: list[str] = []
    lines: list[tuple[str, str]] = []
    ready = tmp_path / "ready"
    supervisor = Supervisor(
        [spec("a", sleeper(ready), ready)], tmp_path / "logs", lambda n, t: lines.append((n, t)), events.append
    )
    supervisor.start()
    wait_for(lambda: ("a", "up") in lines)
    supervisor.stop()
    assert (tmp_path / "logs" / "a.log").read_text() == "up\n"
    assert any("a is ready" in event for event in events)


def test_what_dies_is_started_again(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    supervisor = Supervisor([spec("a", sleeper(ready), ready)], tmp_path / "logs")
    supervisor.start()
    try:
        process = supervisor.processes["a"]
        first = process.pid
        assert first
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: process.exit_code is not None)
        supervisor.check()
        assert process.pid != first
        assert process.exit_code is None
    finally:
        supervisor.stop()


def test_what_keeps_dying_is_given_up(tmp_path: Path) -> None:
    supervisor = Supervisor([spec("a", "raise SystemExit(3)")], tmp_path / "logs")
    process = supervisor.processes["a"]
    process.start()
    with pytest.raises(Unavailable, match="a died"):
        for _ in range(50):
            wait_for(lambda: process.exit_code is not None)
            supervisor.check()
    supervisor.stop()


def test_a_failed_start_tells_the_log_and_stops_the_others(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    failing = spec(
        "b", "import time; print('no such model', flush=True); time.sleep(0.2); raise SystemExit(4)", tmp_path / "never"
    )
    supervisor = Supervisor([spec("a", sleeper(ready), ready), failing], tmp_path / "logs")
    with pytest.raises(Unavailable) as raised:
        supervisor.start()
    assert "no such model" in str(raised.value)
    assert "code 4" in str(raised.value)
    assert supervisor.processes["a"].exit_code is not None


def test_a_process_that_is_never_ready_is_told_of(tmp_path: Path) -> None:
    slow = spec("a", "import time; time.sleep(60)", tmp_path / "never", start_timeout_seconds=0.3)
    supervisor = Supervisor([slow], tmp_path / "logs")
    with pytest.raises(Unavailable, match="not ready"):
        supervisor.start()
    assert supervisor.processes["a"].exit_code is not None


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + sleeper(ready)
    supervisor = Supervisor([spec("a", script, ready, stop_timeout_seconds=0.3)], tmp_path / "logs")
    supervisor.start()
    supervisor.stop()
    assert supervisor.processes["a"].exit_code == -signal.SIGKILL


def test_processes_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"""
import sys, time, pathlib
sys.path.insert(0, {str(Path.cwd())!r})
from tests.unit.local.test_supervisor import spec, sleeper
from services.local.supervisor import Supervisor
ready = pathlib.Path({str(ready)!r})
supervisor = Supervisor([spec("a", sleeper(ready), ready)], pathlib.Path({str(tmp_path)!r}))
supervisor.start()
print(supervisor.processes["a"].pid, flush=True)
time.sleep(60)
"""
    outer = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert outer.stdout
    inner = int(outer.stdout.readline())
    outer.kill()
    outer.wait()

    def gone() -> bool:
        status = Path(f"/proc/{inner}/status")
        return not status.exists() or "\nState:\tZ" in status.read_text()

    wait_for(gone)
