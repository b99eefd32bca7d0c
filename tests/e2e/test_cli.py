"""The commands as a user types them: up, status, ask, down."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.common.errors import FailedPrecondition
from services.local.platform import Ports
from services.local.up import refuse_busy_ports

pytestmark = pytest.mark.e2e

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"


def free_port_base() -> int:
    """A first port from which on all that a platform takes are free."""
    for base in range(20_000 + os.getpid() % 5_000, 32_000, 20):
        try:
            refuse_busy_ports(Ports.from_base(base))
        except FailedPrecondition:
            continue
        return base
    pytest.fail("no free ports")


PORT_BASE = free_port_base()


def auricle(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "AURICLE_HOME": str(home),
        "AURICLE_ADDRESS": f"127.0.0.1:{PORT_BASE}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-m", "auricle", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)


def test_up_status_ask_down(tmp_path: Path) -> None:
    up = auricle(tmp_path, "up", "--detach", f"--port-base={PORT_BASE}")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        again = auricle(tmp_path, "up", f"--port-base={PORT_BASE}")
        assert again.returncode == 1
        assert "runs already" in again.stderr
        status = auricle(tmp_path, "status")
        assert status.returncode == 0, status.stderr
        assert "decoder" in status.stdout
        asked = auricle(tmp_path, "ask", str(SAMPLES / "sentence.wav"), "--prompt", "Transcribe the speech.", "--json")
        assert asked.returncode == 0, asked.stderr
        answer = json.loads(asked.stdout)
        assert answer["text"]
        assert answer["usage"]["audio_heard_seconds"] == pytest.approx(3.115, abs=0.01)
    finally:
        down = auricle(tmp_path, "down")
    assert down.returncode == 0
    assert "stopped" in down.stdout
    assert auricle(tmp_path, "status").returncode == 1
    assert "no platform runs" in auricle(tmp_path, "down").stdout
