"""The whole platform on free ports, for end-to-end tests and benchmarks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from services.local.platform import HOST, PlatformConfig, Ports, http_answers, process_specs, worker_spec
from services.local.process import ProcessSpec
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


def worker_specs(config: PlatformConfig, count: int) -> Iterator[ProcessSpec]:
    """So many workers, each with a name and a metrics port of its own."""
    for number in range(count):
        port = config.ports.worker_metrics if number == 0 else Ports.free().worker_metrics
        spec = worker_spec(config)
        yield replace(
            spec,
            name=f"worker-{number}",
            command=[*spec.command, "--name", f"worker-{number}"],
            environment={**spec.environment, "AURICLE_WORKER_METRICS_PORT": str(port)},
            is_ready=partial(http_answers, port),
        )


@contextmanager
def running_platform(model: str, home: Path, *, workers: int = 1, **overrides: str) -> Iterator[RunningPlatform]:
    """Start a platform that serves `model`; `overrides` are environment variables of its services."""
    config = replace(prepare(model, home, Ports.free(), threads=2, on_event=print), overrides=overrides)
    others = [spec for spec in process_specs(config) if spec.name != "worker"]
    supervisor = Supervisor([*others, *worker_specs(config, workers)], home / "logs")
    supervisor.start()
    try:
        yield RunningPlatform(config, supervisor)
    finally:
        supervisor.stop()
