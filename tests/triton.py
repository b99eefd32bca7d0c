"""A true Triton on free ports, its counters, and a gate that holds its model still."""

import asyncio
import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from services.local.triton import HOST, TritonServer

_SAMPLE = re.compile(r'^(nv_\w+)\{[^}]*model="audio_encoder"[^}]*\} (\S+)$', re.MULTILINE)


@contextmanager
def running_triton(
    repository: Path, directory: Path, threads: int = 2, traces_url: str | None = None
) -> Iterator[TritonServer]:
    """Serve a model repository; the log and the backend directory lie in `directory`."""
    grpc_port, http_port, metrics_port = free_ports(3)
    server = TritonServer(
        repository,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        log_path=directory / "triton.log",
        threads=threads,
        traces_url=traces_url,
        cache_dir=directory / "cache",
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in sockets]


def counters(server: TritonServer) -> dict[str, float]:
    """Triton's Prometheus metrics of the encoder by name; metrics that have several samples are summed."""
    with urllib.request.urlopen(f"http://{HOST}:{server.metrics_port}/metrics", timeout=5) as response:
        text = response.read().decode()
    totals: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        totals[name] = totals.get(name, 0.0) + float(value)
    return totals


def settled_counters(server: TritonServer) -> dict[str, float]:
    """The counters once they stand still: Triton answers a call before it counts it."""
    last: dict[str, float] = {}
    while (now := counters(server)) != last:
        last = now
        time.sleep(0.1)
    return last


def stub_process(server: TritonServer) -> psutil.Process:
    """The process that runs model.py."""
    [stub] = [child for child in psutil.Process(server.pid).children() if "stub" in child.name()]
    return stub


class Gate:
    """Holds the published model still while it is shut, so that calls pile up in Triton's queue.

    Made before the server starts: it adds a wait to the published model.py.
    """

    def __init__(self, version_directory: Path) -> None:
        self._shut, self._occupied = version_directory / "shut", version_directory / "occupied"
        shell = version_directory / "model.py"
        shell.write_text(shell.read_text() + _WAIT)

    @contextmanager
    def shut(self) -> Iterator[None]:
        """No batch is computed meanwhile."""
        self._shut.touch()
        try:
            yield
        finally:
            self._shut.unlink()

    async def until_occupied(self, timeout_seconds: float = 20.0) -> None:
        """Wait until a batch stands before the shut gate."""
        async with asyncio.timeout(timeout_seconds):
            while not self._occupied.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.005)


_WAIT = """

class _Gated(TritonPythonModel):
    def execute(self, requests):
        shut, occupied = Path(__file__).with_name("shut"), Path(__file__).with_name("occupied")
        while shut.exists():
            occupied.touch()
            time.sleep(0.002)
        occupied.unlink(missing_ok=True)
        return super().execute(requests)


TritonPythonModel = _Gated
"""


async def until_waiting(server: TritonServer, requests: int, timeout_seconds: float = 20.0) -> None:
    """Wait until so many requests stand in Triton's queue."""
    async with asyncio.timeout(timeout_seconds):
        while (await asyncio.to_thread(counters, server))["nv_inference_pending_request_count"] < requests:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
