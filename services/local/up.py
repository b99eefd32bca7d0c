"""`auricle up`: make the model ready, start every process, watch them, stop them."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from services.common.errors import FailedPrecondition, Unavailable
from services.encoder.publish import publish, published_version
from services.encoder.repository import EncoderRepository
from services.encoder.settings import EncoderSettings
from services.local import state
from services.local.platform import HOST, PlatformConfig, Ports, process_specs
from services.local.supervisor import Supervisor
from services.qwen2_audio.resolve import resolve_checkpoint
from services.qwen2_audio.weights import Checkpoint

DETACHED_START_SECONDS = 300.0


def prepare(model: str, home: Path, ports: Ports, threads: int, on_event: Callable[[str], None]) -> PlatformConfig:
    """Assemble or find the model and publish its encoder; both are done once and kept.

    Args:
        model: "auricle-mini", a checkpoint directory, or a hub id.
        home: where the platform keeps its data.
        ports: where it will listen.
        threads: CPU threads of the encoder and of the decoder.
        on_event: told what is being done.
    """
    on_event(f"model {model}: assembling or opening")
    checkpoint = resolve_checkpoint(model)
    fingerprint = Checkpoint(checkpoint).fingerprint
    # A repository for each checkpoint: Triton serves the latest version, and that must be this model's.
    repository = home / "model_repo" / fingerprint[:12]
    if published_version(repository, fingerprint) is None:
        on_event(f"publishing the encoder into {repository}, compared with transformers first")
        on_event(str(publish(checkpoint, repository).report))
    # The settings of this start, not those of the day of publishing.
    EncoderRepository(repository).write_config(EncoderSettings())
    name = Path(model).name if Path(model).is_dir() else model
    return PlatformConfig(name, checkpoint, repository, home, ports, threads)


def refuse_busy_ports(ports: Ports) -> None:
    """Raise FailedPrecondition when something listens already where the platform would."""
    busy = []
    for name in Ports.__dataclass_fields__:
        port = getattr(ports, name)
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                busy.append(f"{port} ({name})")
    if busy:
        raise FailedPrecondition(
            f"ports in use on {HOST}: {', '.join(busy)}. Another platform may run (`auricle down` stops it); "
            "`auricle up --port-base N` takes other ports.",
            reason="PORT_IN_USE",
        )


def run_in_foreground(
    config: PlatformConfig, on_line: Callable[[str, str], None], on_event: Callable[[str], None]
) -> None:
    """Run the platform until SIGTERM or SIGINT; whatever dies is started again.

    Raises:
        FailedPrecondition: a port is in use, or a platform of this home runs already.
        Unavailable: a process cannot be started or keeps dying.
    """
    running = state.read(config.data_dir)
    if running:
        raise FailedPrecondition(f"a platform runs already (process {running.pid}, {running.address})")
    refuse_busy_ports(config.ports)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    supervisor = Supervisor(process_specs(config), config.data_dir / "logs", on_line, on_event)
    started = time.monotonic()
    try:
        supervisor.start()
        address = f"{HOST}:{config.ports.gateway}"
        state.write(config.data_dir, state.RunningPlatform(os.getpid(), address, config.model))
        on_event(f"ready at {address} after {time.monotonic() - started:.1f} s; ask with: auricle ask FILE")
        while not stop.wait(0.3):
            supervisor.check()
    finally:
        on_event("stopping")
        supervisor.stop()
        state.clear(config.data_dir)


def run_detached(arguments: list[str], home: Path) -> state.RunningPlatform:
    """Start `auricle up` in the background and wait until it is ready.

    Raises:
        Unavailable: it ended or was not ready in time; the message carries the end of its log.
    """
    log_path = home / "logs" / "platform.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("w") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "auricle", "up", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + DETACHED_START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        running = state.read(home)
        if running and running.pid == child.pid:
            return running
        time.sleep(0.1)
    child.terminate()
    tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-15:])
    raise Unavailable(f"the platform did not start; the end of {log_path}:\n{tail}")
