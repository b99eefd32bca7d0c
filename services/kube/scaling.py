"""The number of pods of a component, and who else decides it: KEDA's ScaledObject or a HorizontalPodAutoscaler.

What is only set on the Deployment an autoscaler undoes within seconds. A fixed number therefore pauses KEDA by its
annotation, or makes both limits of the HorizontalPodAutoscaler that number and notes the former ones; `let_go` takes it
back.
"""

from dataclasses import dataclass

from services.kube.cluster import AUTOSCALERS, DEPLOYMENTS, SCALED_OBJECTS, Cluster, KubeError, Object
from services.kube.release import name_of
from services.kube.telling import Telling

# KEDA 2.x: scales to this number and stays there while the annotation is there.
PAUSED = "autoscaling.keda.sh/paused-replicas"
PAUSED_AS_IT_IS = "autoscaling.keda.sh/paused"
FORMER = "auricle/former-replicas"


@dataclass(frozen=True)
class Autoscaler:
    """Who decides how many pods a Deployment has.

    Attributes:
        kind: "KEDA" or "HPA".
        least: pods at least.
        most: at most.
        held: what somebody has fixed it to; None while it decides itself.
    """

    kind: str
    item: Object
    least: int
    most: int
    held: str | None

    @property
    def text(self) -> str:
        """In few words."""
        limits = f"{self.kind} {self.least}-{self.most}"
        return f"{limits}, held at {self.held}" if self.held is not None else limits


def autoscaler_of(cluster: Cluster, deployment: str) -> Autoscaler | None:
    """Who scales the Deployment; None where nobody does."""
    for item in cluster.items(SCALED_OBJECTS):
        if item["spec"]["scaleTargetRef"]["name"] == deployment:
            spec, notes = item["spec"], item["metadata"].get("annotations") or {}
            held = notes.get(PAUSED) or ("what it has" if notes.get(PAUSED_AS_IT_IS) == "true" else None)
            # KEDA's own defaults of both limits.
            return Autoscaler("KEDA", item, spec.get("minReplicaCount", 0), spec.get("maxReplicaCount", 100), held)
    for item in cluster.items(AUTOSCALERS):
        target = item["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) == ("Deployment", deployment):
            spec, notes = item["spec"], item["metadata"].get("annotations") or {}
            held = str(spec["maxReplicas"]) if FORMER in notes else None
            return Autoscaler("HPA", item, spec.get("minReplicas", 1), spec["maxReplicas"], held)
    return None


def set_limits(cluster: Cluster, deployment: Object, least: int | None, most: int | None, telling: Telling) -> None:
    """Let the autoscaler decide between these numbers; None leaves one as it is.

    Raises:
        KubeError: nobody scales the Deployment, or it would be at least more than at most.
    """
    name = name_of(deployment)
    found = autoscaler_of(cluster, name)
    if found is None:
        raise KubeError(f"nobody scales {name} (scaling.mode=none): give it --replicas")
    least = found.least if least is None else least
    most = found.most if most is None else most
    if least > most:
        raise KubeError(f"{name} cannot have at least {least} and at most {most} pods")
    telling.will(f"let {found.kind} keep {name} between {least} and {most} pods (now {found.least}-{found.most})")
    if found.kind == "KEDA":
        change = {"spec": {"minReplicaCount": least, "maxReplicaCount": most}}
        cluster.patch(SCALED_OBJECTS, name_of(found.item), change)
    else:
        cluster.patch(AUTOSCALERS, name_of(found.item), {"spec": {"minReplicas": least, "maxReplicas": most}})


def hold(cluster: Cluster, deployment: Object, replicas: int, telling: Telling) -> None:
    """Give a Deployment this many pods, whoever scales it.

    Raises:
        KubeError: a HorizontalPodAutoscaler cannot hold 0.
    """
    name = name_of(deployment)
    found = autoscaler_of(cluster, name)
    if found is None:
        former = deployment["metadata"].get("annotations", {}).get(FORMER, str(deployment["spec"].get("replicas", 1)))
        telling.will(f"scale {name} from {deployment['spec'].get('replicas', 1)} to {replicas} pods")
        change = {"metadata": {"annotations": {FORMER: former}}, "spec": {"replicas": replicas}}
        cluster.patch(DEPLOYMENTS, name, change)
    elif found.kind == "KEDA":
        telling.will(f"pause KEDA for {name} at {replicas} pods; it would undo anything else ({found.text})")
        cluster.patch(SCALED_OBJECTS, name_of(found.item), {"metadata": {"annotations": {PAUSED: str(replicas)}}})
    else:
        _hold_autoscaler(cluster, found, name, replicas, telling)


def _hold_autoscaler(cluster: Cluster, found: Autoscaler, name: str, replicas: int, telling: Telling) -> None:
    if replicas == 0:
        # An autoscaler lets a Deployment of 0 pods alone, so that is held by itself.
        telling.will(f"scale {name} to 0 pods; its HPA lets it alone while it has none")
        cluster.patch(DEPLOYMENTS, name, {"spec": {"replicas": 0}})
        return
    former = (found.item["metadata"].get("annotations") or {}).get(FORMER, f"{found.least}-{found.most}")
    telling.will(
        f"set the HPA of {name} to {replicas} pods at least and at most; it would undo anything else ({former})"
    )
    limits = {"minReplicas": replicas, "maxReplicas": replicas}
    cluster.patch(AUTOSCALERS, name_of(found.item), {"metadata": {"annotations": {FORMER: former}}, "spec": limits})


def let_go(cluster: Cluster, deployment: Object, telling: Telling) -> None:
    """Take back what `hold` did; nothing happens where nothing is held."""
    name = name_of(deployment)
    found = autoscaler_of(cluster, name)
    former = (deployment["metadata"].get("annotations") or {}).get(FORMER)
    if found is None and former is not None:
        telling.will(f"scale {name} back to {former} pods")
        change = {"metadata": {"annotations": {FORMER: None}}, "spec": {"replicas": int(former)}}
        cluster.patch(DEPLOYMENTS, name, change)
    elif found is not None and found.kind == "KEDA" and found.held is not None:
        telling.will(f"let KEDA decide about {name} again, {found.least}-{found.most} pods")
        notes = {PAUSED: None, PAUSED_AS_IT_IS: None}
        cluster.patch(SCALED_OBJECTS, name_of(found.item), {"metadata": {"annotations": notes}})
    elif found is not None and found.kind == "HPA":
        _let_autoscaler_go(cluster, found, deployment, telling)


def _let_autoscaler_go(cluster: Cluster, found: Autoscaler, deployment: Object, telling: Telling) -> None:
    former = (found.item["metadata"].get("annotations") or {}).get(FORMER)
    if former is not None:
        least, most = map(int, former.split("-"))
        telling.will(f"let the HPA decide about {name_of(deployment)} again, {least}-{most} pods")
        change = {"metadata": {"annotations": {FORMER: None}}, "spec": {"minReplicas": least, "maxReplicas": most}}
        cluster.patch(AUTOSCALERS, name_of(found.item), change)
    if deployment["spec"].get("replicas") == 0:
        least = found.least if former is None else int(former.split("-")[0])
        telling.will(f"scale {name_of(deployment)} to {least} pods, from where its HPA goes on")
        cluster.patch(DEPLOYMENTS, name_of(deployment), {"spec": {"replicas": least}})
