"""The objects of a model that is rolled out: copies of the release's encoder and decoder under the label track=canary.

NetworkPolicies of the chart select both tracks; its Services, autoscalers and disruption budgets only the stable one.
The copies' names begin otherwise, so that the queries which the stable pods are scaled by do not count them.
"""

import hashlib
from copy import deepcopy

from services.kube.cluster import KubeError, Object
from services.kube.release import CANARY, STABLE, TRACK, Release, container_of, name_of, variable_of, with_model

HALVES = ("encoder", "decoder")
MANAGED_BY = "app.kubernetes.io/managed-by"
US = "auricle-k8s"
# On the canary's decoder: what the comparison came to, and what was served before the promotion.
VERDICT, FORMER_MODEL = "auricle/verdict", "auricle/former-model"
_ADDRESS = "AURICLE_GATEWAY_CANARY_{}_ADDRESS"
PERCENT = "AURICLE_GATEWAY_CANARY_PERCENT"


def canary_name(release: Release, component: str) -> str:
    """Of its Deployment and Service."""
    return f"{release.fullname}-canary-{component}"


def deployment(release: Release, component: str, model: str, replicas: int) -> Object:
    """A Deployment like the stable one, of another model.

    Raises:
        KubeError: the chart that was installed knows no tracks, or no model is called so.
    """
    stable = release.deployment(component)
    if stable["spec"]["selector"]["matchLabels"].get(TRACK) != STABLE:
        raise KubeError(f"{name_of(stable)} has no label {TRACK}: upgrade the release to a chart that has tracks")
    spec = deepcopy(stable["spec"])
    spec["replicas"] = replicas
    spec["selector"]["matchLabels"][TRACK] = CANARY
    spec["template"] = with_model(spec["template"], component, model)
    spec["template"]["metadata"]["labels"][TRACK] = CANARY
    for constraint in spec["template"]["spec"].get("topologySpreadConstraints", []):
        constraint["labelSelector"]["matchLabels"][TRACK] = CANARY
    labels = {**stable["metadata"]["labels"], MANAGED_BY: US, TRACK: CANARY}
    labels.pop("helm.sh/chart", None)
    metadata = {"name": canary_name(release, component), "labels": labels}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def service(release: Release, component: str, stable: Object) -> Object:
    """A Service like the stable one, of the canary's pods."""
    port_fields = ("name", "port", "targetPort", "protocol", "appProtocol")
    ports = [{key: port[key] for key in port_fields if key in port} for port in stable["spec"]["ports"]]
    selector = {**stable["spec"]["selector"], TRACK: CANARY}
    labels = {**stable["metadata"]["labels"], MANAGED_BY: US, TRACK: CANARY}
    labels.pop("helm.sh/chart", None)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": canary_name(release, component), "labels": labels},
        "spec": {"clusterIP": "None", "selector": selector, "ports": ports},
    }


def gateway_variables(release: Release, percent: int | None) -> dict[str, str | None]:
    """What the gateway must be told for the canary's share; None takes the canary from it."""
    if percent is None:
        return dict.fromkeys([*(_ADDRESS.format(half.upper()) for half in HALVES), PERCENT])
    told: dict[str, str | None] = {PERCENT: str(percent)}
    for half in HALVES:
        stable = variable_of(release.deployment("gateway"), f"AURICLE_GATEWAY_{half.upper()}_ADDRESS") or ""
        old, new = f"/{release.fullname}-{half}:", f"/{canary_name(release, half)}:"
        if old not in stable:
            raise KubeError(f"the gateway finds its {half} at {stable!r}, which is not what the chart sets")
        told[_ADDRESS.format(half.upper())] = stable.replace(old, new)
    return told


def percent_of(release: Release) -> int | None:
    """The canary's share; None while the gateway knows of no canary."""
    found = variable_of(release.deployment("gateway"), PERCENT)
    return None if found is None else int(found)


def model_job(release: Release, model: str, memory: str, token_secret: str | None) -> Object:
    """A Job that gets the model into the volume and publishes its encoder, as the chart's does for its own."""
    template = with_model(release.deployment("decoder")["spec"]["template"], "decoder", model)
    waiting = next(iter(template["spec"].get("initContainers", [])), None)
    if waiting is None:
        raise KubeError("the decoder does not wait for a model, so its volume is filled by hand: use --filled")
    container = {key: waiting[key] for key in ("image", "imagePullPolicy", "securityContext") if key in waiting}
    env: list[Object] = [{"name": "HF_HOME", "value": "/models/hub"}]
    if token_secret:
        env.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": token_secret, "key": "token"}}})
    container |= {"name": "model", "args": ["fill", model, "/models"], "env": env}
    container["resources"] = {"requests": {"cpu": "1", "memory": memory}, "limits": {"memory": memory}}
    container["volumeMounts"] = [{"name": "model", "mountPath": "/models"}, {"name": "tmp", "mountPath": "/tmp"}]
    claim = next(each for each in template["spec"]["volumes"] if each["name"] == "model")["persistentVolumeClaim"]
    kept = ("imagePullSecrets", "securityContext", "serviceAccountName")
    spec = {key: template["spec"][key] for key in kept if key in template["spec"]} | {
        "restartPolicy": "OnFailure",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [container],
        "volumes": [
            {"name": "model", "persistentVolumeClaim": {"claimName": claim["claimName"]}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        ],
    }
    # The NetworkPolicy of the chart's own job lets it reach the hub.
    labels = release.deployment("decoder")["metadata"]["labels"] | {"app.kubernetes.io/component": "model"}
    labels |= {MANAGED_BY: US}
    labels.pop("helm.sh/chart", None)
    digest = hashlib.sha256(f"{container['image']} {model}".encode()).hexdigest()[:8]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{release.fullname}-canary-model-{digest}", "labels": labels},
        "spec": {
            "backoffLimit": 6,
            "ttlSecondsAfterFinished": 86400,
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def images_of(item: Object) -> str:
    """Image of its container, to be told."""
    return str(container_of(item["spec"]["template"])["image"])
