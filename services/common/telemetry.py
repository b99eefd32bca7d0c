"""Logs, traces and metrics, set up once per process.

Logs are JSON lines with request id and trace id. Traces follow the OpenTelemetry environment variables and are exported
only when OTEL_EXPORTER_OTLP_ENDPOINT is set. Metrics are Prometheus'.
"""

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import Counter, Gauge, Histogram

RPC_SECONDS = Histogram(
    "auricle_rpc_seconds",
    "Duration of served calls.",
    ["method", "code"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
RPC_IN_FLIGHT = Gauge("auricle_rpc_in_flight", "Calls being served.", ["method"])
RPC_ERRORS = Counter("auricle_rpc_errors_total", "Calls that ended in an error, by its reason.", ["method", "reason"])


def _with_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
    return event


def setup_logging(service: str, level: str | None = None) -> None:
    """Log JSON lines to standard error, with the service's name in each."""
    number = logging.getLevelNamesMapping()[(level or os.environ.get("AURICLE_LOG_LEVEL", "INFO")).upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _with_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr)


def setup_tracing(service: str) -> None:
    """Make spans; send them when an OTLP endpoint is named in the environment."""
    provider = TracerProvider(resource=Resource.create({"service.name": f"auricle-{service}"}))
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    # A stream that its caller leaves is closed by asyncio in another context, which the instrumentation reports as an
    # error with a traceback; the span itself has ended well.
    logging.getLogger("opentelemetry.context").setLevel(logging.CRITICAL)


def trace_headers() -> dict[str, str]:
    """The current trace context as headers, for servers that are not called through our own channels (Triton)."""
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return headers


def logger() -> Any:
    """A logger that carries the context variables of the current call."""
    return structlog.get_logger()
