"""A recipe as a run on the cluster: a JobSet where the cluster has them, else a Job.

Its pods are like the decoder's, with the same node selectors, tolerations, GPUs and the volume of models, and with a
volume of data on which the run's folder lies. Started again, a run goes on where its newest checkpoint stands.
"""

import re
import time
from dataclasses import dataclass
from typing import Any

from services.kube.canary import MANAGED_BY, US
from services.kube.cluster import CONFIG_MAPS, JOB_SETS, JOBS, PODS, Cluster, KubeError, Object
from services.kube.release import Release, container_of
from services.kube.telling import Telling
from services.kube.waiting import ASK_SECONDS, trouble

RUN = "auricle/run"
RENDEZVOUS_PORT = 29500
# How often a run whose log has ended is asked for its end, which its controller writes a little later.
TRIES = 10
_STEP = re.compile(r"step (\d+) of (\d+)(.*)")
_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
_POD_FIELDS = ("imagePullSecrets", "nodeSelector", "tolerations", "runtimeClassName", "securityContext")


@dataclass(frozen=True)
class Run:
    """A run to be started.

    Attributes:
        name: of its objects.
        recipe: text of the recipe; its paths are those of the pods, /data and /models.
        claim: PersistentVolumeClaim that is mounted at /data.
        folder: of checkpoints and curves.
        nodes: pods, which train together.
        processes: of each pod.
        image: of the trainer; None takes the one that belongs to the release.
    """

    name: str
    recipe: str
    claim: str
    folder: str
    nodes: int = 1
    processes: int = 1
    image: str | None = None


def start(cluster: Cluster, release: Release, run: Run, telling: Telling) -> Object:
    """Make the objects of a run; the Job or JobSet.

    Raises:
        Conflict: there is a run of that name.
        KubeError: several nodes are wanted, which needs JobSets, and the cluster has none.
    """
    has_sets = cluster.serves(JOB_SETS)
    if run.nodes > 1 and not has_sets:
        raise KubeError(f"{run.nodes} nodes need the JobSet controller, which this cluster does not have; one does not")
    pod = pod_template(release, run)
    resource, made = (JOB_SETS, job_set(run, pod)) if has_sets else (JOBS, job(run, pod))
    image = container_of(pod)["image"]
    telling.will(f"create {made['kind']} {run.name}: {run.nodes} pods of {image}, folder {run.folder} on {run.claim}")
    made = cluster.create(resource, made)
    # It goes with the run, and is made after it: a name that is taken must not change another run's recipe.
    cluster.create(CONFIG_MAPS, recipe_map(run, made))
    return made


def follow(cluster: Cluster, run: Run, telling: Telling, timeout_seconds: float) -> None:
    """Show the log and how far the run has come, until it ends.

    Args:
        timeout_seconds: for its first pod to start; the run takes what it takes.

    Raises:
        KubeError: it failed, or its pod did not start in time.
    """
    with telling.bar(run.name) as show:
        while True:
            pod = _started(cluster, run, timeout_seconds)
            telling.say(f"log of {pod}")
            for line in cluster.logs(pod):
                if step := _STEP.search(line):
                    show(int(step[1]), int(step[2]), step[3].lstrip(", "))
                else:
                    telling.say(line)
            end = _end(cluster, run)
            if end is not None:
                break
            telling.say(f"{pod} has ended, and the run has not: it is tried again")
    succeeded, message = end
    if not succeeded:
        raise KubeError(f"{run.name} failed: {message}")
    telling.say(f"{run.name} is done; {run.folder} on {run.claim} has its checkpoints and curves")


def pod_template(release: Release, run: Run) -> Object:
    """Pods of a run."""
    decoder = release.deployment("decoder")["spec"]["template"]["spec"]
    theirs = decoder["containers"][0]
    image = run.image or str(theirs["image"]).replace("/decoder:", "/trainer:")
    claim = next((each for each in decoder["volumes"] if each["name"] == "model"), None)
    volumes: list[Object] = [
        {"name": "recipe", "configMap": {"name": run.name}},
        {"name": "data", "persistentVolumeClaim": {"claimName": run.claim}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "8Gi"}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        *([claim] if claim else []),
    ]
    paths = {"recipe": "/recipe", "data": "/data", "tmp": "/tmp", "shared-memory": "/dev/shm", "model": "/models"}
    read_only = {"recipe", "model"}
    container = {
        "name": "train",
        "image": image,
        "imagePullPolicy": theirs.get("imagePullPolicy", "IfNotPresent"),
        "command": _command(run),
        "env": [{"name": "NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}}] if run.nodes > 1 else [],
        "resources": theirs["resources"],
        "securityContext": theirs["securityContext"],
        "volumeMounts": [
            {"name": v["name"], "mountPath": paths[v["name"]], **({"readOnly": True} if v["name"] in read_only else {})}
            for v in volumes
        ],
    }
    spec: dict[str, Any] = {key: decoder[key] for key in _POD_FIELDS if key in decoder} | {
        "restartPolicy": "OnFailure",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [container],
        "volumes": volumes,
    }
    # Not the release's labels: its NetworkPolicies would keep the pods of a run from each other.
    return {"metadata": {"labels": {RUN: run.name, MANAGED_BY: US}}, "spec": spec}


def _command(run: Run) -> list[str]:
    training = ["-m", "services.training", "/recipe/recipe.toml", "--folder", run.folder]
    if run.nodes == 1 and run.processes == 1:
        return ["python", *training]
    start = ["torchrun", "--nproc-per-node", str(run.processes)]
    if run.nodes > 1:
        # The name that a JobSet gives its first pod.
        first = f"{run.name}-train-0-0.{run.name}"
        start += ["--nnodes", str(run.nodes), "--node-rank", "$(NODE_RANK)"]
        start += ["--master-addr", first, "--master-port", str(RENDEZVOUS_PORT)]
    return [*start, *training]


def job(run: Run, pod: Object) -> Object:
    """One pod, tried again when it fails: it resumes."""
    labels = {RUN: run.name, MANAGED_BY: US}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": run.name, "labels": labels},
        "spec": {"backoffLimit": 6, "template": pod},
    }


def job_set(run: Run, pod: Object) -> Object:
    """Pods that find each other by name; when one fails for good all begin again, and resume."""
    spec = {
        "completionMode": "Indexed",
        "completions": run.nodes,
        "parallelism": run.nodes,
        "backoffLimit": 0,
        # A process alone cannot come back to the others.
        "template": {**pod, "spec": {**pod["spec"], "restartPolicy": "Never"}},
    }
    return {
        "apiVersion": JOB_SETS.group_version,
        "kind": "JobSet",
        "metadata": {"name": run.name, "labels": {RUN: run.name, MANAGED_BY: US}},
        "spec": {
            "network": {"enableDNSHostnames": True, "subdomain": run.name},
            "failurePolicy": {"maxRestarts": 6},
            "replicatedJobs": [{"name": "train", "replicas": 1, "template": {"spec": spec}}],
        },
    }


def recipe_map(run: Run, owner: Object) -> Object:
    """The recipe, removed with the run."""
    owned = {key: owner[key] for key in ("apiVersion", "kind")}
    reference = {**owned, "name": run.name, "uid": owner["metadata"].get("uid", "")}
    metadata = {"name": run.name, "labels": {RUN: run.name, MANAGED_BY: US}, "ownerReferences": [reference]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"recipe.toml": run.recipe}}


def _started(cluster: Cluster, run: Run, timeout_seconds: float) -> str:
    """The first pod, once it runs or has ended."""
    deadline, why = time.monotonic() + timeout_seconds, "there is no pod"
    while time.monotonic() < deadline:
        for pod in cluster.items(PODS, f"{RUN}={run.name}"):
            notes = pod["metadata"].get("annotations") or {}
            if notes.get("batch.kubernetes.io/job-completion-index", "0") != "0":
                continue
            if pod.get("status", {}).get("phase") in ("Running", "Succeeded", "Failed"):
                return str(pod["metadata"]["name"])
            why = trouble(pod) or "its pod is not started"
        time.sleep(ASK_SECONDS)
    raise KubeError(f"{run.name} did not start in {timeout_seconds:g} s: {why}")


def _end(cluster: Cluster, run: Run) -> tuple[bool, str] | None:
    """Whether it succeeded, and a word about it; None when its log has ended and it goes on."""
    for _ in range(TRIES):
        for resource in (JOBS, JOB_SETS):
            found = cluster.find(resource, run.name)
            for condition in (found or {}).get("status", {}).get("conditions", []):
                if condition["status"] == "True" and condition["type"] in ("Complete", "Completed", "Failed"):
                    return condition["type"] != "Failed", condition.get("message", "")
        time.sleep(ASK_SECONDS)
    return None
