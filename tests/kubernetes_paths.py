"""What a request to the Kubernetes API asks for, by its path; label selectors, merge patches, Status objects."""

import re
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
# The kinds that the stand-in has, by their plurals.
GROUP_VERSIONS = {
    "pods": "v1",
    "services": "v1",
    "configmaps": "v1",
    "deployments": "apps/v1",
    "jobs": "batch/v1",
    "horizontalpodautoscalers": "autoscaling/v2",
    "scaledobjects": "keda.sh/v1alpha1",
    "jobsets": "jobset.x-k8s.io/v1alpha2",
    "endpointslices": "discovery.k8s.io/v1",
}
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[a-z0-9.-]+))/(?P<version>v\w+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>\w+))?)?)?"
)
_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}


class Refused(Exception):
    """An answer that is an error: a Status object."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.content = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}


@dataclass(frozen=True)
class Asked:
    """A request."""

    verb: str
    group: str
    group_version: str
    namespace: str | None
    plural: str
    name: str
    subresource: str
    query: dict[str, str] = field(default_factory=dict)
    body: Object = field(default_factory=dict)

    @property
    def resource(self) -> str:
        """As rules name it."""
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural

    @property
    def is_dry(self) -> bool:
        """Whether nothing is to be kept."""
        return self.query.get("dryRun") == "All"

    def is_allowed_by(self, rule: Object) -> bool:
        """Whether a rule of a Role allows it."""
        named = self.resource in rule["resources"] or "*" in rule["resources"]
        return self.group in rule["apiGroups"] and named and self.verb in rule["verbs"]


def read_path(method: str, path: str, query: dict[str, str], body: Object) -> Asked:
    """What is asked for; raises Refused for what the stand-in does not have."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise Refused(404, "NotFound", f"no path {path}")
    group, plural, name = match["group"] or "", match["plural"] or "", match["name"] or ""
    version = f"{group}/{match['version']}" if group else match["version"]
    if not plural:
        if version not in GROUP_VERSIONS.values():
            raise Refused(404, "NotFound", f"no group {version}")
        return Asked("discover", group, version, None, "", "", "")
    if group != "external.metrics.k8s.io" and GROUP_VERSIONS.get(plural) != version:
        raise Refused(404, "NotFound", f"no kind {version} {plural}")
    reading = "watch" if "watch" in query else "get" if name or group == "external.metrics.k8s.io" else "list"
    verb = reading if method == "GET" else _VERBS[method]
    return Asked(verb, group, version, match["namespace"], plural, name, match["sub"] or "", query, body)


def plural_of(item: Object) -> str:
    """Of its kind."""
    return str(item["kind"]).lower() + "s"


def labelled(item: Object, selector: str) -> bool:
    """Whether it bears the labels of a selector of equalities."""
    wanted = dict(pair.split("=", 1) for pair in selector.split(",") if pair)
    return wanted.items() <= (item["metadata"].get("labels") or {}).items()


def merged_patch(known: Any, change: Any) -> Any:
    """RFC 7396."""
    if not isinstance(change, dict):
        return change
    made = known if isinstance(known, dict) else {}
    for key, value in change.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged_patch(made.get(key), value)
    return made
