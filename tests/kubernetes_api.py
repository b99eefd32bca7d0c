"""A small stand-in for the Kubernetes API: objects of one namespace, read, watched and written over real HTTP.

It keeps what the kubernetes client or a manifest makes of an object, numbers its versions, checks rights, and answers
mistakes with Status objects, as the real one does. It runs nothing: who wants controllers gives it `on_write`.
"""

import copy
import json
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from kubernetes import client

from tests.kubernetes_paths import GROUP_VERSIONS, Asked, Refused, labelled, merged_patch, plural_of, read_path

NAMESPACE = "auricle"
Object = dict[str, Any]


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
    """Serves the objects that it is given.

    Attributes:
        client: talks to it.
        objects: by kind's plural and name; change one by `put`.
        rules: of the Role that requests are allowed by; None allows everything.
        unknown: plurals of the kinds that this cluster does not have.
        logs: by pod, what its log is.
        metrics: by name, quantities of the external metrics API.
        on_write: called with each object that was written, before the answer; controllers.
        written: what was asked to be written, with the verb, dry runs left out.
    """

    def __init__(self, namespace: str = NAMESPACE) -> None:
        self.namespace = namespace
        self.objects: dict[str, dict[str, Object]] = {plural: {} for plural in GROUP_VERSIONS}
        self.rules: list[Object] | None = None
        self.unknown: set[str] = set()
        self.logs: dict[str, str] = {}
        self.metrics: dict[str, str] = {}
        self.on_write: Callable[[str, Object], None] = lambda plural, item: None
        self.written: list[tuple[str, str, str]] = []
        self._watchers: set[queue.SimpleQueue[tuple[str, Object] | None]] = set()
        self._version = 1
        self._lock = threading.RLock()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api._answer(self)

            def do_POST(self) -> None:
                api._answer(self)

            def do_PATCH(self) -> None:
                api._answer(self)

            def do_DELETE(self) -> None:
                api._answer(self)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        configuration = client.Configuration(host=f"http://127.0.0.1:{self._server.server_port}")
        self.client = client.ApiClient(configuration)

    def put(self, item: Any) -> None:
        """Add or replace an object, a manifest or one of the client's, and tell the watchers."""
        made: Object = self.client.sanitize_for_serialization(item)
        with self._lock:
            self._store(plural_of(made), made)

    def delete(self, name: str, plural: str = "endpointslices") -> None:
        """Remove an object, and tell the watchers."""
        with self._lock:
            self._version += 1
            self._tell("DELETED", self.objects[plural].pop(name))

    def kubeconfig(self, directory: Path) -> Path:
        """A file that names this cluster and its namespace."""
        path = directory / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": {"server": self.client.configuration.host}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": self.namespace}}],
            "current-context": "here",
        }
        path.write_text(json.dumps(config))
        return path

    def close(self) -> None:
        """End every watch and the server."""
        with self._lock:
            for watcher in self._watchers:
                watcher.put(None)
        self._server.shutdown()
        self._server.server_close()

    def _store(self, plural: str, item: Object) -> None:
        self._version += 1
        metadata, known = item["metadata"], self.objects[plural].get(item["metadata"]["name"])
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("uid", f"uid-{self._version}")
        changed = known is None or known.get("spec") != item.get("spec")
        metadata["generation"] = (known or {"metadata": {}})["metadata"].get("generation", 0) + changed
        self.objects[plural][metadata["name"]] = item
        self._tell("MODIFIED" if known else "ADDED", item)

    def _tell(self, kind: str, item: Object) -> None:
        for watcher in self._watchers:
            watcher.put((kind, copy.deepcopy(item)))

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        url = urlparse(request.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        length = int(request.headers.get("Content-Length") or 0)
        body = json.loads(request.rfile.read(length)) if length else {}
        try:
            asked = read_path(str(request.command), url.path, query, body)
            self._check(asked)
            if asked.verb == "watch":
                _begin(request, 200)
                with suppress(OSError):
                    self._watch(request, asked)
                    request.wfile.write(b"0\r\n\r\n")
                return
            with self._lock:
                status, answer = 200, self._do(asked)
        except Refused as refused:
            status, answer = refused.status, refused.content
        _begin(request, status)
        with suppress(OSError):
            _send(request, answer if isinstance(answer, str) else json.dumps(answer) + "\n")
            request.wfile.write(b"0\r\n\r\n")

    def _check(self, asked: Asked) -> None:
        if asked.plural in self.unknown or asked.namespace not in (None, self.namespace):
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        if self.rules is not None and asked.namespace and not any(asked.is_allowed_by(rule) for rule in self.rules):
            what = f'resource "{asked.resource}" in API group "{asked.group}" in the namespace "{asked.namespace}"'
            raise Refused(403, "Forbidden", f'{asked.resource} is forbidden: User "me" cannot {asked.verb} {what}')

    def _do(self, asked: Asked) -> Object | str:
        if asked.verb == "discover":
            of_group = [plural for plural, version in GROUP_VERSIONS.items() if version == asked.group_version]
            known = [plural for plural in of_group if plural not in self.unknown]
            if not known:
                raise Refused(404, "NotFound", f"no group {asked.group_version}")
            return {"kind": "APIResourceList", "resources": [{"name": plural} for plural in known]}
        if asked.group == "external.metrics.k8s.io":
            values = (
                [{"metricName": asked.plural, "value": self.metrics[asked.plural]}]
                if asked.plural in self.metrics
                else []
            )
            return {"kind": "ExternalMetricValueList", "items": values}
        items = self.objects[asked.plural]
        if asked.verb == "list":
            found = [item for item in items.values() if labelled(item, asked.query.get("labelSelector", ""))]
            kind = {"kind": "List", "apiVersion": asked.group_version}
            return {**kind, "metadata": {"resourceVersion": str(self._version)}, "items": found}
        if asked.verb == "create":
            return self._create(asked, items)
        if asked.name not in items:
            raise Refused(404, "NotFound", f'{asked.resource} "{asked.name}" not found')
        if asked.subresource == "log":
            return self.logs.get(asked.name, "")
        if asked.verb == "patch":
            return self._patch(asked, items[asked.name])
        if asked.verb == "delete" and not asked.is_dry:
            self.written.append(("delete", asked.plural, asked.name))
            self.delete(asked.name, asked.plural)
            return {"kind": "Status", "status": "Success"}
        return items[asked.name]

    def _create(self, asked: Asked, items: dict[str, Object]) -> Object:
        name = asked.body["metadata"]["name"]
        if name in items:
            raise Refused(409, "AlreadyExists", f'{asked.resource} "{name}" already exists')
        made = {**asked.body, "metadata": {**asked.body["metadata"], "namespace": self.namespace}}
        return made if asked.is_dry else self._write(asked, made)

    def _patch(self, asked: Asked, known: Object) -> Object:
        version = asked.body.get("metadata", {}).get("resourceVersion")
        if version not in (None, known["metadata"]["resourceVersion"]):
            raise Refused(409, "Conflict", f'{asked.resource} "{asked.name}": the object has been modified')
        made: Object = merged_patch(copy.deepcopy(known), asked.body)
        return made if asked.is_dry else self._write(asked, made)

    def _write(self, asked: Asked, made: Object) -> Object:
        name = made["metadata"]["name"]
        self.written.append((asked.verb, asked.plural, name))
        self._store(asked.plural, made)
        self.on_write(asked.plural, self.objects[asked.plural][name])
        return self.objects[asked.plural][name]

    def _watch(self, request: BaseHTTPRequestHandler, asked: Asked) -> None:
        events: queue.SimpleQueue[tuple[str, Object] | None] = queue.SimpleQueue()
        since, kind = int(asked.query["resourceVersion"]), asked.plural
        with self._lock:
            for item in self.objects[kind].values():
                if int(item["metadata"]["resourceVersion"]) > since:
                    events.put(("MODIFIED", copy.deepcopy(item)))
            self._watchers.add(events)
        try:
            for event, item in iter(events.get, None):
                if plural_of(item) == kind and labelled(item, asked.query.get("labelSelector", "")):
                    _send(request, json.dumps({"type": event, "object": item}) + "\n")
        finally:
            with self._lock:
                self._watchers.discard(events)


def _begin(request: BaseHTTPRequestHandler, status: int) -> None:
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()


def _send(request: BaseHTTPRequestHandler, text: str) -> None:
    data = text.encode()
    if data:
        request.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        request.wfile.flush()


@contextmanager
def running_kubernetes_api(namespace: str = NAMESPACE) -> Iterator[KubernetesApi]:
    """The stand-in on a free port."""
    api = KubernetesApi(namespace)
    try:
        yield api
    finally:
        api.close()
