"""Gateway, workers and Redis as real processes in front of cheap services, to be used, killed and started again."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from auricle import Client
from services.common.auth import create_key
from services.local.platform import (
    HOST,
    PlatformConfig,
    Ports,
    grpc_healthy,
    redis_spec,
    service_specs,
)
from services.local.process import ManagedProcess, ProcessSpec
from services.local.supervisor import Supervisor
from tests.platform import worker_specs

# Short times, so that what is lost is soon found.
QUICK = {
    "AURICLE_WORKER_LEASE_SECONDS": "1.5",
    "AURICLE_WORKER_LOST_AFTER_SECONDS": "1.5",
    "AURICLE_WORKER_LOOK_AFTER_SECONDS": "0.3",
    "AURICLE_WORKER_CLEAN_SECONDS": "0.3",
    "AURICLE_WORKER_RETRY_SECONDS": "0.2",
    "AURICLE_WORKER_MAX_RETRY_SECONDS": "1",
    "AURICLE_WORKER_MAX_ATTEMPTS": "100",
}
TENANTS = ("ann", "ben")


@dataclass(frozen=True)
class JobPlatform:
    """A platform whose model is cheap.

    Attributes:
        config: ports and folder.
        supervisor: of its processes.
        keys: an API key for each tenant.
    """

    config: PlatformConfig
    supervisor: Supervisor
    keys: dict[str, str]

    @property
    def redis_url(self) -> str:
        """Redis of records and queues."""
        return f"redis://{HOST}:{self.config.ports.redis}/0"

    @property
    def store(self) -> Path:
        """Folder of the object store."""
        return self.config.data_dir / "uploads"

    def client(self, tenant: str = TENANTS[0]) -> Client:
        """A client of that tenant."""
        return Client(f"{HOST}:{self.config.ports.gateway}", api_key=self.keys[tenant], timeout_seconds=30)

    def process(self, name: str) -> ManagedProcess:
        """One of the processes."""
        return self.supervisor.processes[name]

    def kill(self, name: str) -> None:
        """SIGKILL; it is gone when this returns."""
        process = self.process(name).popen
        assert process is not None
        process.kill()
        process.wait()

    def start(self, name: str) -> None:
        """Start again what was killed or stopped, and wait until it serves."""
        self.process(name).start()
        self.process(name).wait_ready()

    def worked_on(self, what: str) -> int:
        """How many windows encoder ("encode") or decoder ("decode") worked on so far."""
        logs = (self.config.data_dir / f"{service}.windows" for service in ("encoder", "decoder"))
        lines = [line for log in logs if log.exists() for line in log.read_text().splitlines()]
        return sum(line.startswith(what) for line in lines)

    def log(self, name: str) -> str:
        """What a process wrote."""
        return (self.config.data_dir / "logs" / f"{name}.log").read_text()


def _cheap(config: PlatformConfig, service: str, port: int) -> ProcessSpec:
    log = config.data_dir / f"{service}.windows"
    command = [sys.executable, "-m", "tests.job_services", service, str(port), str(log)]
    return ProcessSpec(service, command, _environment(config), lambda: grpc_healthy(port))


def _environment(config: PlatformConfig) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path), **config.overrides}


@contextmanager
def running_job_platform(
    home: Path, *, workers: int = 1, overrides: Mapping[str, str] | None = None
) -> Iterator[JobPlatform]:
    """Start one; `overrides` are environment variables of its services."""
    home.mkdir(parents=True, exist_ok=True)
    created = {tenant: create_key(tenant) for tenant in TENANTS}
    key_file = home / "keys"
    key_file.write_text("".join(line + "\n" for _, line in created.values()))
    variables = {**QUICK, "AURICLE_GATEWAY_API_KEYS_FILE": str(key_file), **(overrides or {})}
    config = PlatformConfig("toy", Path(), Path(), home, Ports.free(), overrides=variables)
    config = replace(config, overrides=_python_path(config))
    ports = config.ports
    specs = [
        redis_spec(config),
        _cheap(config, "preprocess", ports.preprocess),
        _cheap(config, "encoder", ports.encoder_grpc),
        _cheap(config, "decoder", ports.decoder),
        *(spec for spec in service_specs(config) if spec.name == "gateway"),
        *worker_specs(config, workers),
    ]
    supervisor = Supervisor(specs, home / "logs")
    supervisor.start()
    try:
        yield JobPlatform(config, supervisor, {tenant: key for tenant, (key, _) in created.items()})
    finally:
        supervisor.stop()


def _python_path(config: PlatformConfig) -> dict[str, str]:
    return {**config.overrides, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}


def eventually(condition: object, seconds: float = 20.0) -> None:
    """Wait until `condition()` is true; AssertionError when it is not in time."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
