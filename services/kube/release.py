"""A release of the chart: its Deployments, and what stands in them."""

import re
from copy import deepcopy
from dataclasses import dataclass

from services.kube.cluster import DEPLOYMENTS, Cluster, KubeError, Object

CHART = "auricle"
INSTANCE, COMPONENT, TRACK = "app.kubernetes.io/instance", "app.kubernetes.io/component", "auricle/track"
STABLE, CANARY = "stable", "canary"


@dataclass(frozen=True)
class Release:
    """What Helm has installed.

    Attributes:
        instance: Helm's name of it.
        fullname: what the names of its objects begin with.
        stable: its Deployments by component.
        canary: those of a model that is rolled out, likewise.
    """

    instance: str
    fullname: str
    stable: dict[str, Object]
    canary: dict[str, Object]

    def deployment(self, component: str) -> Object:
        """The Deployment of a component, "decoder" or for workers "worker-decode" or just "decode".

        Raises:
            KubeError: there is none.
        """
        found = self.stable.get(component) or self.stable.get(f"worker-{component}")
        if found is None:
            raise KubeError(f"the release has no {component}; it has {', '.join(sorted(self.stable))}")
        return found


def find_release(cluster: Cluster, instance: str | None = None) -> Release:
    """The release of a namespace.

    Raises:
        KubeError: there is none, not the one named, or several and none is named.
    """
    found: dict[str, list[Object]] = {}
    for deployment in cluster.items(DEPLOYMENTS, f"app.kubernetes.io/name={CHART}"):
        found.setdefault(deployment["metadata"]["labels"].get(INSTANCE, ""), []).append(deployment)
    if not found:
        raise KubeError(
            f"no release of the chart {CHART} in namespace {cluster.namespace}; name another with --namespace"
        )
    if instance is not None and instance not in found:
        raise KubeError(f"no release {instance} in namespace {cluster.namespace}; there are {', '.join(sorted(found))}")
    if instance is None and len(found) > 1:
        raise KubeError(f"several releases in namespace {cluster.namespace}; name one with --release: {sorted(found)}")
    instance = instance or next(iter(found))
    tracks: dict[str, dict[str, Object]] = {STABLE: {}, CANARY: {}}
    for deployment in found[instance]:
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        tracks[labels.get(TRACK, STABLE)][labels[COMPONENT]] = deployment
    gateway = tracks[STABLE].get("gateway")
    if gateway is None:
        raise KubeError(f"release {instance} has no gateway")
    return Release(instance, name_of(gateway).removesuffix("-gateway"), tracks[STABLE], tracks[CANARY])


def name_of(item: Object) -> str:
    """metadata.name."""
    return str(item["metadata"]["name"])


def container_of(template: Object) -> Object:
    """The one container of a pod template."""
    found: Object = template["spec"]["containers"][0]
    return found


def version_of(deployment: Object) -> str:
    """Tag of its image."""
    return str(container_of(deployment["spec"]["template"])["image"].rpartition(":")[2])


def variable_of(deployment: Object, name: str) -> str | None:
    """Value of a variable of its container; None where it is not set, or from a secret."""
    for entry in container_of(deployment["spec"]["template"]).get("env", []):
        if entry["name"] == name:
            return str(entry["value"]) if "value" in entry else None
    return None


def with_variables(template: Object, values: dict[str, str | None]) -> Object:
    """The pod template with its container's variables set, or removed where the value is None."""
    made = deepcopy(template)
    container = container_of(made)
    # Each stays in its place, so that what the chart renders for these values is the same template.
    old = {entry["name"]: entry for entry in container.get("env", [])}
    new = {name: {"name": name, "value": value} for name, value in values.items()}
    container["env"] = [entry for entry in {**old, **new}.values() if values.get(entry["name"], "") is not None]
    return made


def model_of(deployment: Object) -> str | None:
    """Name of the model that an encoder or decoder serves."""
    return variable_of(deployment, "AURICLE_DECODER_MODEL_NAME") or variable_of(deployment, "AURICLE_ENCODER_MODEL")


def model_folder(model: str) -> str:
    """Folder of a model where the chart mounts the volume, as services.encoder.ready has it."""
    return f"/models/{model.strip('/').replace('/', '--')}"


def with_model(template: Object, component: str, model: str) -> Object:
    """The pod template of an encoder or decoder for another model of the same volume.

    Raises:
        KubeError: no model is called so.
    """
    if not re.fullmatch(r"[A-Za-z0-9/][A-Za-z0-9._/-]*", model) or ".." in model:
        raise KubeError(f"no model is called {model!r}: it is a hub id, a directory of the volume, or auricle-mini")
    if component == "encoder":
        made = with_variables(template, {"AURICLE_ENCODER_MODEL": model})
    else:
        checkpoint = f"{model_folder(model)}/checkpoint"
        made = with_variables(template, {"AURICLE_DECODER_CHECKPOINT": checkpoint, "AURICLE_DECODER_MODEL_NAME": model})
    for waiting in made["spec"].get("initContainers", []):
        if waiting["args"][:1] == ["wait"]:
            waiting["args"][1] = model
    return made
