"""A small stand-in for the Kubernetes API: the EndpointSlices of a namespace, listed and watched.

It serves what the kubernetes client makes of V1EndpointSlice objects, over real HTTP with real watch streams.
"""

import json
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

from kubernetes import client

NAMESPACE = "auricle"


def endpoint(host: str, *, ready: bool = True, terminating: bool = False) -> client.V1Endpoint:
    """A pod as a slice lists it; one that drains is terminating and not ready, but still serves what it has."""
    conditions = client.V1EndpointConditions(ready=ready, serving=ready or terminating, terminating=terminating)
    return client.V1Endpoint(addresses=[host], conditions=conditions)


def endpoint_slice(
    service: str, name: str, port: int, endpoints: Sequence[client.V1Endpoint]
) -> client.V1EndpointSlice:
    """A slice of a service, whose port is called "grpc"."""
    labels = {"kubernetes.io/service-name": service}
    return client.V1EndpointSlice(
        api_version="discovery.k8s.io/v1",
        kind="EndpointSlice",
        metadata=client.V1ObjectMeta(name=name, namespace=NAMESPACE, labels=labels),
        address_type="IPv4",
        endpoints=list(endpoints),
        ports=[client.DiscoveryV1EndpointPort(name="grpc", port=port, protocol="TCP")],
    )


class KubernetesApi:
    """Serves the slices that it is given.

    Attributes:
        client: talks to it.
    """

    def __init__(self) -> None:
        self._slices: dict[str, dict[str, Any]] = {}
        self._watchers: set[queue.SimpleQueue[dict[str, Any] | None]] = set()
        self._version = 1
        self._lock = threading.Lock()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api._answer(self)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        configuration = client.Configuration(host=f"http://127.0.0.1:{self._server.server_port}")
        self.client = client.ApiClient(configuration)

    def put(self, piece: client.V1EndpointSlice) -> None:
        """Add or replace a slice, and tell the watchers."""
        with self._lock:
            self._version += 1
            made = self.client.sanitize_for_serialization(piece)
            made["metadata"]["resourceVersion"] = str(self._version)
            name = made["metadata"]["name"]
            event = {"type": "MODIFIED" if name in self._slices else "ADDED", "object": made}
            self._slices[name] = made
            self._tell(event)

    def delete(self, name: str) -> None:
        """Remove a slice, and tell the watchers."""
        with self._lock:
            self._version += 1
            self._tell({"type": "DELETED", "object": self._slices.pop(name)})

    def close(self) -> None:
        """End every watch and the server."""
        with self._lock:
            for watcher in self._watchers:
                watcher.put(None)
        self._server.shutdown()
        self._server.server_close()

    def _tell(self, event: dict[str, Any]) -> None:
        for watcher in self._watchers:
            watcher.put(event)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        url = urlparse(request.path)
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path != f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices":
            request.send_error(404)
            return
        label, _, value = asked["labelSelector"].partition("=")
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        with suppress(OSError):
            if "watch" in asked:
                self._watch(request, label, value, int(asked["resourceVersion"]))
            else:
                _send(request, self._list(label, value))
            request.wfile.write(b"0\r\n\r\n")

    def _list(self, label: str, value: str) -> dict[str, Any]:
        with self._lock:
            found = [piece for piece in self._slices.values() if piece["metadata"]["labels"].get(label) == value]
            version = str(self._version)
        kind = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList"}
        return {**kind, "metadata": {"resourceVersion": version}, "items": found}

    def _watch(self, request: BaseHTTPRequestHandler, label: str, value: str, since: int) -> None:
        events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        with self._lock:
            for piece in self._slices.values():
                if int(piece["metadata"]["resourceVersion"]) > since:
                    events.put({"type": "MODIFIED", "object": piece})
            self._watchers.add(events)
        try:
            for event in iter(events.get, None):
                if event["object"]["metadata"]["labels"].get(label) == value:
                    _send(request, event)
        finally:
            with self._lock:
                self._watchers.discard(events)


def _send(request: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
    line = json.dumps(message).encode() + b"\n"
    request.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
    request.wfile.flush()


@contextmanager
def running_kubernetes_api() -> Iterator[KubernetesApi]:
    """The stand-in on a free port."""
    api = KubernetesApi()
    try:
        yield api
    finally:
        api.close()
