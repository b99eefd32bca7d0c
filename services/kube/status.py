"""A release in one table: pods, versions, models, who scales, and on which signals."""

from dataclasses import dataclass

from rich.table import Table

from services.kube.cluster import PODS, Cluster, Object
from services.kube.release import CANARY, COMPONENT, STABLE, TRACK, Release, model_of, name_of, version_of
from services.kube.scaling import autoscaler_of
from services.kube.signals import signals_of
from services.kube.waiting import trouble


@dataclass(frozen=True)
class Row:
    """A component of a track."""

    component: str
    track: str
    ready: int
    wanted: int
    restarts: int
    version: str
    model: str
    scaled_by: str
    signals: str
    trouble: str


def rows_of(cluster: Cluster, release: Release) -> list[Row]:
    """All components of a release, the canary's last."""
    pods = cluster.items(PODS, f"app.kubernetes.io/instance={release.instance}")
    tracks = ((STABLE, release.stable), (CANARY, release.canary))
    return [_row(cluster, item, track, pods) for track, items in tracks for _, item in sorted(items.items())]


def _row(cluster: Cluster, deployment: Object, track: str, pods: list[Object]) -> Row:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    mine = [
        pod
        for pod in pods
        if pod["metadata"]["labels"].get(COMPONENT) == labels[COMPONENT]
        and pod["metadata"]["labels"].get(TRACK, STABLE) == track
    ]
    restarts = sum(each["restartCount"] for pod in mine for each in pod.get("status", {}).get("containerStatuses", []))
    scaler = autoscaler_of(cluster, name_of(deployment))
    return Row(
        labels[COMPONENT],
        track,
        deployment.get("status", {}).get("readyReplicas", 0),
        deployment["spec"].get("replicas", 1),
        restarts,
        version_of(deployment),
        model_of(deployment) or "",
        scaler.text if scaler else "nobody",
        ", ".join(signal.text for signal in signals_of(cluster, scaler)) if scaler else "",
        "; ".join(sorted({reason for pod in mine if (reason := trouble(pod))})),
    )


def table(release: Release, rows: list[Row]) -> Table:
    """For people; a component whose pods are not all ready is red."""
    made = Table("component", "ready", "restarts", "version", "model", "scaled by", "signals", "trouble")
    made.title = f"release {release.instance}"
    for row in rows:
        name = row.component if row.track == STABLE else f"{row.component} ({row.track})"
        style = "red" if row.ready < row.wanted else ""
        ready = f"{row.ready}/{row.wanted}"
        cells = (row.version, row.model, row.scaled_by, row.signals, row.trouble)
        made.add_row(name, ready, str(row.restarts), *cells, style=style)
    return made
