"""What the controllers of a cluster would do with the stand-in's objects, at once: pods come, jobs end, KEDA scales."""

from typing import Any

from tests.kubernetes_api import KubernetesApi

Object = dict[str, Any]
PAUSED = "autoscaling.keda.sh/paused-replicas"


class Controllers:
    """Acts on every write.

    Attributes:
        broken: names of Deployments whose pods never become ready, and of Jobs that fail.
    """

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self.broken: set[str] = set()
        api.on_write = self.act
        for plural, items in api.objects.items():
            for item in list(items.values()):
                self.act(plural, item)

    def act(self, plural: str, item: Object) -> None:
        """Bring about what an object asks for."""
        if plural == "deployments":
            self._deployment(item)
        elif plural == "scaledobjects":
            held = (item["metadata"].get("annotations") or {}).get(PAUSED)
            self._scale(item, held, item["spec"].get("minReplicaCount", 0), item["spec"].get("maxReplicaCount", 100))
        elif plural == "horizontalpodautoscalers":
            self._scale(item, None, item["spec"].get("minReplicas", 1), item["spec"]["maxReplicas"])
        elif plural in ("jobs", "jobsets"):
            self._job(item)

    def _deployment(self, item: Object) -> None:
        # The API server's own default.
        wanted = item["spec"].setdefault("replicas", 1)
        ready = 0 if item["metadata"]["name"] in self.broken else wanted
        counts = {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": ready}
        item["status"] = {"observedGeneration": item["metadata"]["generation"], **counts}

    def _scale(self, item: Object, held: str | None, least: int, most: int) -> None:
        deployment = self._api.objects["deployments"][item["spec"]["scaleTargetRef"]["name"]]
        now = deployment["spec"].get("replicas", 1)
        wanted = int(held) if held is not None else min(max(now, least), most)
        if item["kind"] == "HorizontalPodAutoscaler" and now == 0:
            # It takes none for switched off; KEDA brings the least number itself.
            wanted = 0
        if wanted != now:
            deployment["spec"]["replicas"] = wanted
            self._api.put(deployment)
            self._deployment(self._api.objects["deployments"][deployment["metadata"]["name"]])

    def _job(self, item: Object) -> None:
        failed = item["metadata"]["name"] in self.broken
        kind = "Failed" if failed else "Completed" if item["kind"] == "JobSet" else "Complete"
        condition = {"type": kind, "status": "True", "message": "BackoffLimitExceeded" if failed else ""}
        item["status"] = {"succeeded": 0 if failed else 1, "conditions": [condition]}
        if run := item["metadata"]["labels"].get("auricle/run"):
            labels = {"auricle/run": run}
            notes = {"batch.kubernetes.io/job-completion-index": "0"}
            metadata = {"name": f"{run}-0", "labels": labels, "annotations": notes}
            self._api.put({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "status": {"phase": "Succeeded"}})
            self._api.logs[f"{run}-0"] = "reading manifests\nstep 1 of 20, loss 3.1000\nstep 20 of 20, loss 1.2000\n"
