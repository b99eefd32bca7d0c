"""The whole platform on free ports, for end-to-end tests and benchmarks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from services.local.platform import HOST, PlatformConfig, Ports, process_specs
from services.local.supervisor import Supervisor
from services.local.up import prepare


@dataclass(frozen=True)
class RunningPlatform:
    """A platform that serves: where, from which checkpoint, under which supervisor."""

    config: PlatformConfig
    supervisor: Supervisor

    @property
    def address(self) -> str:
        """`host:port` of the gateway."""
        return f"{HOST}:{self.config.ports.gateway}"

    @property
    def checkpoint(self) -> Path:
        """Directory of the model that it serves."""
        return self.config.checkpoint

    def log_tails(self) -> str:
        """The last lines of every process, for a failed test to show."""
        processes = self.supervisor.processes.values()
        return "\n".join(f"--- {p.spec.name}\n" + "\n".join(list(p.tail)[-8:]) for p in processes)


@contextmanager
def running_platform(model: str, home: Path, **overrides: str) -> Iterator[RunningPlatform]:
    """Start a platform that serves `model`; `overrides` are environment variables of its services."""
    config = prepare(model, home, Ports.free(), threads=2, on_event=print)
    supervisor = Supervisor(process_specs(replace(config, overrides=overrides)), home / "logs")
    supervisor.start()
    try:
        yield RunningPlatform(config, supervisor)
    finally:
        supervisor.stop()
