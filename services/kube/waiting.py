"""Waiting until the cluster has done what it was told."""

import time
from collections.abc import Callable

from services.kube.cluster import DEPLOYMENTS, JOBS, PODS, Cluster, KubeError, Object
from services.kube.telling import Telling

ASK_SECONDS = 1.0


def rolled_out(
    cluster: Cluster, name: str, telling: Telling, timeout_seconds: float, replicas: int | None = None
) -> None:
    """Wait until a Deployment's pods are all of its newest form and ready. A dry run does not wait.

    Args:
        cluster: where it is.
        name: of the Deployment.
        telling: shows how far it has come.
        timeout_seconds: longest wait.
        replicas: number that somebody else is going to scale it to; None takes what it is told now.

    Raises:
        KubeError: they were not in time; says why, as far as their pods tell.
    """

    def state() -> tuple[int, int, str]:
        deployment = cluster.get(DEPLOYMENTS, name)
        wanted, status = deployment["spec"].get("replicas", 1), deployment.get("status", {})
        if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
            return 0, max(wanted, 1), "not seen yet"
        if replicas not in (None, wanted):
            return 0, max(wanted, 1), f"not scaled to {replicas} yet"
        ready = min(status.get("updatedReplicas", 0), status.get("readyReplicas", 0))
        surplus = status.get("replicas", 0) - wanted
        if surplus > 0:
            return wanted, wanted + surplus, "older pods go"
        return (ready, wanted, troubles(cluster, deployment) if ready < wanted else "") if wanted else (1, 1, "")

    _until(cluster, state, f"{name}: pods ready", telling, timeout_seconds)


def job_done(cluster: Cluster, name: str, telling: Telling, timeout_seconds: float) -> None:
    """Wait until a Job has succeeded; raises KubeError when it failed or was not done in time."""

    def state() -> tuple[int, int, str]:
        status = cluster.get(JOBS, name).get("status", {})
        for condition in status.get("conditions", []):
            if condition["type"] == "Failed" and condition["status"] == "True":
                raise KubeError(f"job {name} failed: {condition.get('message', '')}; see its pods' logs")
        return status.get("succeeded", 0), 1, ""

    _until(cluster, state, f"{name}: done", telling, timeout_seconds)


def troubles(cluster: Cluster, deployment: Object) -> str:
    """Why pods of a Deployment are not ready, in few words; empty when they do not tell."""
    labels = ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())
    return "; ".join(sorted({reason for pod in cluster.items(PODS, labels) if (reason := trouble(pod))}))


def trouble(pod: Object) -> str:
    """Why a pod is not ready: what its containers wait for or ended with, or why it has no node."""
    status = pod.get("status", {})
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            return f"{container['name']}: {waiting['reason']}"
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"not scheduled: {condition.get('message', condition.get('reason', ''))}"[:120]
    return ""


def _until(
    cluster: Cluster, state: Callable[[], tuple[int, int, str]], title: str, telling: Telling, timeout_seconds: float
) -> None:
    if cluster.dry_run:
        return
    deadline = time.monotonic() + timeout_seconds
    with telling.bar(title) as show:
        while True:
            done, total, note = state()
            show(done, total, note)
            if done >= total:
                return
            if time.monotonic() > deadline:
                raise KubeError(
                    f"{title}: {done} of {total} after {timeout_seconds:g} s; {note or 'no reason is told'}"
                )
            time.sleep(ASK_SECONDS)
