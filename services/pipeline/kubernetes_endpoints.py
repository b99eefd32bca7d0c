"""The ready pods of a Kubernetes service, from its EndpointSlices.

A pod that drains (terminating, so no longer ready) leaves at once: it gets no new calls and finishes those it has. The
service account needs `get`, `list` and `watch` on `endpointslices` of `discovery.k8s.io` in the namespace.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from kubernetes import client, config, watch

from services.common import telemetry
from services.pipeline.endpoints import Addresses, joined

# A watch ends and is begun anew after this time, so that one that died unnoticed costs no more.
WATCH_SECONDS = 60
RETRY_SECONDS = 1.0


class KubernetesEndpoints:
    """Watches the EndpointSlices of a service. While the API server cannot be reached, what was known stays.

    Args:
        namespace: of the service.
        service: its name.
        port: name or number of the port in the slices.
        api: of the cluster; by default the one this pod runs in, or the one that KUBECONFIG names.
    """

    def __init__(self, namespace: str, service: str, port: str, api: client.ApiClient | None = None) -> None:
        self.initial: Addresses = frozenset()
        self.tls_name: str | None = service
        self._namespace = namespace
        self._port = port
        self._selector = f"kubernetes.io/service-name={service}"
        self._api = client.DiscoveryV1Api(api or _cluster())

    async def changes(self) -> AsyncIterator[Addresses]:
        """The addresses, whenever they are others than before."""
        loop, found = asyncio.get_running_loop(), asyncio.Queue[Addresses]()
        ended = threading.Event()

        def tell(addresses: Addresses) -> None:
            if not ended.is_set():
                loop.call_soon_threadsafe(found.put_nowait, addresses)

        # The client blocks; a thread that waits for the API server must not keep the process from ending.
        threading.Thread(target=self._follow, args=(tell, ended), name="endpointslices", daemon=True).start()
        known: Addresses = self.initial
        try:
            while True:
                addresses = await found.get()
                if addresses != known:
                    known = addresses
                    yield addresses
        finally:
            ended.set()

    def _follow(self, tell: Callable[[Addresses], None], ended: threading.Event) -> None:
        while not ended.is_set():
            try:
                self._watch(tell, ended)
            except Exception as error:
                telemetry.logger().warning("endpoint slices", error=f"{type(error).__name__}: {error}"[:300])
                ended.wait(RETRY_SECONDS)

    def _watch(self, tell: Callable[[Addresses], None], ended: threading.Event) -> None:
        listing: Any = self._api.list_namespaced_endpoint_slice
        first = listing(self._namespace, label_selector=self._selector, _request_timeout=10)
        slices = {piece.metadata.name: piece for piece in first.items}
        tell(ready_addresses(slices.values(), self._port))
        events = watch.Watch().stream(
            listing,
            self._namespace,
            label_selector=self._selector,
            resource_version=first.metadata.resource_version,
            timeout_seconds=WATCH_SECONDS,
            _request_timeout=(10, WATCH_SECONDS + 10),
        )
        for event in events:
            if ended.is_set():
                return
            name = event["object"].metadata.name
            if event["type"] == "DELETED":
                slices.pop(name, None)
            else:
                slices[name] = event["object"]
            tell(ready_addresses(slices.values(), self._port))


def ready_addresses(slices: Iterable[Any], port: str) -> Addresses:
    """Addresses of the endpoints that take new calls; a slice without the port has none.

    Args:
        slices: objects shaped like V1EndpointSlice.
        port: name or number.
    """
    found = set()
    for piece in slices:
        numbers = [each.port for each in piece.ports or () if port in (each.name, str(each.port))]
        for endpoint in piece.endpoints or ():
            conditions = endpoint.conditions
            # The API's words: an unknown readiness is to be taken as ready.
            if conditions is None or conditions.ready is not False:
                found |= {joined(endpoint.addresses[0], number) for number in numbers}
    return frozenset(found)


def _cluster() -> client.ApiClient:
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config()
        return client.ApiClient()
    # Read here: the client itself reads the variable when it is imported.
    return config.new_client_from_config(config_file=os.environ.get("KUBECONFIG"))
