"""The Kubernetes API of one namespace, through the kubernetes client's connection; its errors in words for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # it takes a second to import: no other command should wait for it
    from kubernetes.client import ApiClient

Object = dict[str, Any]
_SECONDS = 30
_MERGE_PATCH = "application/merge-patch+json"
_RIGHTS = "deploy/rbac/operator.yaml has the rights that these commands need"


class KubeError(Exception):
    """Something that a user can do something about; the text is a sentence."""


class Missing(KubeError):
    """There is no such object."""


class Conflict(KubeError):
    """It is there already, or somebody else has changed it meanwhile."""


class Forbidden(KubeError):
    """The account may not do this."""


class Resource(NamedTuple):
    """A kind of object, as the API's paths have it."""

    group_version: str
    plural: str


DEPLOYMENTS = Resource("apps/v1", "deployments")
PODS = Resource("v1", "pods")
SERVICES = Resource("v1", "services")
CONFIG_MAPS = Resource("v1", "configmaps")
JOBS = Resource("batch/v1", "jobs")
JOB_SETS = Resource("jobset.x-k8s.io/v1alpha2", "jobsets")
AUTOSCALERS = Resource("autoscaling/v2", "horizontalpodautoscalers")
SCALED_OBJECTS = Resource("keda.sh/v1alpha1", "scaledobjects")


class Cluster:
    """Reads and writes objects.

    Args:
        api: of the cluster.
        namespace: of all objects.
        dry_run: writes are checked by the cluster, and not kept.
    """

    def __init__(self, api: ApiClient, namespace: str, *, dry_run: bool = False) -> None:
        self.namespace = namespace
        self.dry_run = dry_run
        self._api = api

    def items(self, resource: Resource, labels: str = "") -> list[Object]:
        """All that bear the labels; none where the cluster does not know the kind."""
        try:
            found = self._call("GET", resource, query=[("labelSelector", labels)] if labels else [])
        except Missing:
            return []
        return list(found["items"])

    def find(self, resource: Resource, name: str) -> Object | None:
        """The object of that name, or None."""
        try:
            return self._call("GET", resource, name)
        except Missing:
            return None

    def get(self, resource: Resource, name: str) -> Object:
        """The object of that name; raises Missing."""
        return self._call("GET", resource, name)

    def create(self, resource: Resource, manifest: Object) -> Object:
        """Make it; raises Conflict when there is one of its name."""
        return self._call("POST", resource, body=manifest)

    def patch(self, resource: Resource, name: str, change: Object) -> Object:
        """Lay a change over it (RFC 7396); with a resourceVersion in it, raises Conflict if another came first."""
        return self._call("PATCH", resource, name, body=change)

    def delete(self, resource: Resource, name: str) -> None:
        """Remove it and what it owns; nothing happens where it is gone."""
        try:
            self._call("DELETE", resource, name, query=[("propagationPolicy", "Background")])
        except Missing:
            return

    def external_metric(self, name: str, labels: str) -> str | None:
        """Value of a metric that autoscalers are served from outside, as a quantity; None where there is none."""
        try:
            found = self._call(
                "GET", Resource("external.metrics.k8s.io/v1beta1", name), query=[("labelSelector", labels)]
            )
        except KubeError:
            return None
        return str(found["items"][0]["value"]) if found["items"] else None

    def serves(self, resource: Resource) -> bool:
        """Whether the cluster knows the kind."""
        try:
            listed = self._request("GET", f"/apis/{resource.group_version}", [], None)
        except Missing:
            return False
        return any(each["name"] == resource.plural for each in listed["resources"])

    def logs(self, pod: str) -> Iterator[str]:
        """Lines of a pod's log as they come, to its end."""
        from kubernetes import client

        with _told_plainly():
            stream: Any = client.CoreV1Api(self._api).read_namespaced_pod_log(
                pod, self.namespace, follow=True, _preload_content=False
            )
            if stream.status != 200:
                raise _refusal(stream.status, stream.data)
            rest = b""
            for piece in stream.stream():
                *lines, rest = (rest + piece).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
            if rest:
                yield rest.decode(errors="replace")

    def _call(
        self,
        method: str,
        resource: Resource,
        name: str = "",
        query: list[tuple[str, str]] | None = None,
        body: Object | None = None,
    ) -> Object:
        root = "/apis" if "/" in resource.group_version else "/api"
        path = f"{root}/{resource.group_version}/namespaces/{self.namespace}/{resource.plural}"
        query = [*(query or []), *([("dryRun", "All")] if self.dry_run and method != "GET" else [])]
        return self._request(method, f"{path}/{name}" if name else path, query, body)

    def _request(self, method: str, path: str, query: list[tuple[str, str]], body: Object | None) -> Object:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = _MERGE_PATCH if method == "PATCH" else "application/json"
        with _told_plainly():
            request = self._api.param_serialize(
                method, path, query_params=query, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            answer = self._api.call_api(*request, _request_timeout=_SECONDS)
            content = answer.read()
            if not 200 <= answer.status < 300:
                raise _refusal(answer.status, content)
        return dict(json.loads(content))


def connect(context: str | None, namespace: str | None, *, dry_run: bool = False) -> Cluster:
    """The cluster that the kubeconfig ($KUBECONFIG) names, or the one that this runs in.

    Args:
        context: of the kubeconfig; its current one by default.
        namespace: the context's own by default.
        dry_run: see ``Cluster``.

    Raises:
        KubeError: none is named, or what names it cannot be read.
    """
    import os

    from kubernetes import client, config

    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and context is None:
            config.load_incluster_config()
            with open("/var/run/secrets/kubernetes.io/serviceaccount/namespace") as file:
                return Cluster(client.ApiClient(), namespace or file.read().strip(), dry_run=dry_run)
        # Given, since the client reads the variable when it is imported.
        file_name = os.environ.get("KUBECONFIG")
        contexts, active = config.list_kube_config_contexts(file_name)
        chosen = next((each for each in contexts if each["name"] == context), None) if context else active
        if chosen is None:
            raise KubeError(f"the kubeconfig has no context {context}")
        api = config.new_client_from_config(config_file=file_name, context=context)
    except (config.ConfigException, OSError) as error:
        raise KubeError(f"no cluster: {error}; set KUBECONFIG to the file that names it") from None
    return Cluster(api, namespace or chosen["context"].get("namespace", "default"), dry_run=dry_run)


class _told_plainly:  # noqa: N801
    """Errors of the connection become KubeErrors."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        if isinstance(error, ApiException):
            raise _refusal(error.status or 0, error.body or b"") from None
        if isinstance(error, HTTPError):
            reason = getattr(error, "reason", None) or error
            raise KubeError(f"cannot reach the cluster: {reason}") from None


def _refusal(status: int, content: bytes | str) -> KubeError:
    try:
        message = str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        message = f"status {status}"
    if status in (401, 403):
        return Forbidden(f"the cluster refuses: {message}; {_RIGHTS}")
    kind = {404: Missing, 409: Conflict}.get(status, KubeError)
    return kind(f"the cluster answers: {message}")
