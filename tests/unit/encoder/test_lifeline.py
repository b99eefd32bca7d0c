"""The server ends with the process that runs its model, unless that process ended in order."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
HOLDER = """
import mmap, sys
from services.encoder.lifeline import Lifeline
with open(sys.argv[2], "r+b") as file:
    memory = mmap.mmap(file.fileno(), 4096)
lifeline = Lifeline(int(sys.argv[1]))
print("tied", flush=True)
if sys.stdin.readline() == "release\\n":
    lifeline.release()
    print("released", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(["sleep", "60"], text=True) as process:
        yield process
        process.kill()


@pytest.fixture
def shared_memory() -> Iterator[Path]:
    region = Path("/dev/shm") / f"auricle-test-{time.monotonic_ns()}"
    region.write_bytes(bytes(4096))
    yield region
    region.unlink(missing_ok=True)


@pytest.fixture
def holder(server: subprocess.Popen[str], shared_memory: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(server.pid), str(shared_memory)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "tied\n"
        yield process
        process.kill()


def test_a_killed_holder_takes_the_server_and_the_shared_memory_with_it(
    server: subprocess.Popen[str], holder: subprocess.Popen[str], shared_memory: Path
) -> None:
    holder.kill()
    assert server.wait(5) == -9
    deadline = time.monotonic() + 5
    while shared_memory.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not shared_memory.exists()


def test_a_holder_that_released_leaves_the_server_alone(
    server: subprocess.Popen[str], holder: subprocess.Popen[str], shared_memory: Path
) -> None:
    assert holder.stdin
    assert holder.stdout
    holder.stdin.write("release\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "released\n"
    holder.kill()
    holder.wait()
    with pytest.raises(subprocess.TimeoutExpired):
        server.wait(0.3)
    assert shared_memory.exists()
