"""The shell around every gRPC service: health, reflection, limits, TLS, and a graceful end.

On SIGTERM the health service says NOT_SERVING, calls in flight get `drain_seconds` to finish, and the service's own
resources close last.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.instrumentation.grpc import aio_server_interceptor
from prometheus_client import start_http_server

from services.common import telemetry
from services.common.interceptors import CallInterceptor
from services.common.settings import ServerSettings


@dataclass
class Service:
    """What a service's composition root hands to the shell.

    Attributes:
        name: short name, for logs and traces.
        full_names: gRPC service names, for health and reflection.
        register: adds the servicers to the server.
        start: opens resources; until it is done health is NOT_SERVING and calls are UNAVAILABLE.
        close: closes resources after the last call ended.
        interceptors: further interceptors, such as authentication; they run inside the shell's own.
    """

    name: str
    full_names: Sequence[str]
    register: Callable[[grpc.aio.Server], None]
    start: Callable[[], Awaitable[None]] | None = None
    close: Callable[[], Awaitable[None]] | None = None
    interceptors: Sequence[grpc.aio.ServerInterceptor] = field(default_factory=tuple)


def channel_limits(max_message_bytes: int) -> list[tuple[str, Any]]:
    """gRPC options shared by servers and channels: message size."""
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
    ]


# A connection that ends makes its client ask again which servers there are; calls in flight are finished on it first.
MAX_CONNECTION_AGE_MS = 60_000


def _server_options(settings: ServerSettings) -> list[tuple[str, Any]]:
    return [
        *channel_limits(settings.max_message_bytes),
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_connection_age_ms", MAX_CONNECTION_AGE_MS),
    ]


class GrpcServer:
    """A running service. `async with GrpcServer(service, settings) as server:` serves on `server.port`."""

    def __init__(self, service: Service, settings: ServerSettings) -> None:
        self._service = service
        self._settings = settings
        self._health = health.aio.HealthServicer()
        self._calls = CallInterceptor(settings.default_deadline_seconds)
        self._server = grpc.aio.server(
            interceptors=[
                aio_server_interceptor(),
                self._calls,
                *service.interceptors,
            ],
            options=_server_options(settings),
            maximum_concurrent_rpcs=settings.max_concurrent_rpcs,
        )
        self.port = 0

    async def __aenter__(self) -> "GrpcServer":
        service, server = self._service, self._server
        service.register(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [*service.full_names, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)
        self.port = self._bind()
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await server.start()
        if service.start:
            await service.start()
        self._calls.started = True
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        telemetry.logger().info("serving", address=f"{self._settings.host}:{self.port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._settings.drain_seconds)
        if self._service.close:
            await self._service.close()

    def _bind(self) -> int:
        settings = self._settings
        address = f"{settings.host}:{settings.port}"
        if not settings.tls_cert or not settings.tls_key:
            return self._server.add_insecure_port(address)
        client_ca = settings.tls_client_ca.read_bytes() if settings.tls_client_ca else None
        credentials = grpc.ssl_server_credentials(
            [(settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())],
            root_certificates=client_ca,
            require_client_auth=client_ca is not None,
        )
        return self._server.add_secure_port(address, credentials)

    async def _set_health(self, status: "health_pb2.HealthCheckResponse.ServingStatus") -> None:
        for name in ("", *self._service.full_names):
            await self._health.set(name, status)


async def _serve_until_signal(service: Service, settings: ServerSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with GrpcServer(service, settings):
        await stop.wait()
        telemetry.logger().info("draining", seconds=settings.drain_seconds)


def run(service_name: str, build: Callable[[], Service], settings: ServerSettings) -> None:
    """Set up telemetry, build the service, serve until SIGTERM or SIGINT, drain, close."""
    telemetry.setup_logging(service_name)
    telemetry.setup_tracing(service_name)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr=settings.host)

    async def main() -> None:
        await _serve_until_signal(build(), settings)

    asyncio.run(main())
