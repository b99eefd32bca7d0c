"""Triton Inference Server on this machine alone, without a container: how it is started, and how it ends."""

import os
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

from services.encoder.triton_command import Listening, triton_command
from services.local.process import KEEP_FREED_MEMORY, ManagedProcess, ProcessSpec
from services.local.triton_parts import find_triton

HOST = "127.0.0.1"
REPOSITORY_ROOT = Path(__file__).parents[2]
SHARED_MEMORY = Path("/dev/shm")
EXIT_TIMEOUT_SECONDS = 20


class TritonServer:
    """A Triton over one model repository, on the loopback interface.

    Args:
        repository: Triton's model repository, with at least one published version.
        grpc_port: port of the KServe v2 gRPC service.
        http_port: port of health checks over HTTP.
        metrics_port: port of Prometheus metrics.
        log_path: where `start` writes the server's output.
        threads: CPU threads of each model instance that does not set its own number.
        traces_url: OTLP over HTTP address that spans are sent to; none are made without it.
        cache_dir: where the backend directory is laid out.

    Raises:
        TritonMissing: a part of Triton is not on this machine.
    """

    def __init__(
        self,
        repository: Path,
        *,
        grpc_port: int,
        http_port: int,
        metrics_port: int,
        log_path: Path,
        threads: int = 2,
        traces_url: str | None = None,
        cache_dir: Path | None = None,
    ) -> None:
        self._binary = find_triton(cache_dir)
        self.repository = repository
        self.grpc_port, self.http_port, self.metrics_port = grpc_port, http_port, metrics_port
        self._threads = threads
        self._traces_url = traces_url
        self._shared_memory_prefix = f"auricle-triton-{grpc_port}-"
        self._process = ManagedProcess(self.spec(), log_path, lambda _, __: None)
        self._remove_leftovers()

    @property
    def grpc_address(self) -> str:
        """`host:port` of the gRPC service."""
        return f"{HOST}:{self.grpc_port}"

    @property
    def pid(self) -> int | None:
        """Process id, once started."""
        return self._process.pid

    def command(self) -> list[str]:
        """The server's command line."""
        return triton_command(
            self._binary.server,
            self.repository,
            Listening(HOST, self.grpc_port, self.http_port, self.metrics_port),
            exit_timeout_seconds=EXIT_TIMEOUT_SECONDS,
            shared_memory_prefix=self._shared_memory_prefix,
            traces_url=self._traces_url,
            further={"backend-directory": self._binary.backends},
        )

    def environment(self) -> dict[str, str]:
        """The server's whole environment: this process's, and what lets the stub run our code on our Python."""
        paths = {
            "LD_LIBRARY_PATH": self._binary.libraries,
            # The stub takes the environment of the python3 that it finds first.
            "PATH": (Path(sys.executable).parent,),
            "PYTHONPATH": (REPOSITORY_ROOT,),
        }
        joined = {
            name: os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get(name)])])
            for name, folders in paths.items()
        }
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self._threads))
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
        return {**inherited, **KEEP_FREED_MEMORY, **joined, **threads, "PYTHONUNBUFFERED": "1"}

    def spec(self, start_timeout_seconds: float = 120.0) -> ProcessSpec:
        """The server as a process that a supervisor can run."""
        return ProcessSpec(
            "encoder",
            self.command(),
            self.environment(),
            self.is_ready,
            start_timeout_seconds=start_timeout_seconds,
            stop_timeout_seconds=EXIT_TIMEOUT_SECONDS + 5,
        )

    def is_ready(self) -> bool:
        """True when the server and all its models serve. Answers within a second."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.http_port}/v2/health/ready", timeout=1) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def start(self) -> None:
        """Start the server and wait until it serves. Call it from the main thread.

        Raises:
            Unavailable: it ended or was not ready in time; the message carries the end of its log.
        """
        self._process.log_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._process.start()
            self._process.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server: requests in flight are answered, then it goes, and its shared memory with it."""
        self._process.stop()
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        """Remove shared memory of an earlier server on this port that was killed together with its stubs."""
        with socket.socket() as probe:
            if probe.connect_ex((HOST, self.grpc_port)) == 0:
                return
        for region in SHARED_MEMORY.glob(f"{self._shared_memory_prefix}*"):
            region.unlink(missing_ok=True)
