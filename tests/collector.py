"""An OpenTelemetry collector for tests: a real OTLP receiver that keeps the spans it is sent."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Receives spans on a free port of the loopback interface."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._services_of_trace: dict[str, set[str]] = defaultdict(set)
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def Export(self, request: Any, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        with self._lock:
            for resource_spans in request.resource_spans:
                attributes = {a.key: a.value.string_value for a in resource_spans.resource.attributes}
                for scope_spans in resource_spans.scope_spans:
                    for span in scope_spans.spans:
                        self._services_of_trace[span.trace_id.hex()].add(attributes["service.name"])
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait_for(self, condition: Callable[[dict[str, set[str]]], bool], seconds: float) -> bool:
        """True as soon as the condition holds for {trace id: names of its services}."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with self._lock:
                if condition(dict(self._services_of_trace)):
                    return True
            time.sleep(0.05)
        return False

    def close(self) -> None:
        """Stop receiving."""
        self._server.stop(0).wait()
