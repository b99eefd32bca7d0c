"""What autoscalers go by, as they see it now: each signal's value over the target of one pod."""

from dataclasses import dataclass

from services.kube.cluster import Cluster, Object
from services.kube.release import name_of
from services.kube.scaling import Autoscaler


@dataclass(frozen=True)
class Signal:
    """Work in a component; `value` is None where nobody tells it, `target` the part of it that one pod takes."""

    name: str
    value: float | None
    target: float | None

    @property
    def text(self) -> str:
        """In few words; a signal without a target of its own is only a number."""
        value = "?" if self.value is None else f"{self.value:g}"
        return f"{self.name} {value}" + (f"/{self.target:g}" if self.target is not None else "")


def signals_of(cluster: Cluster, autoscaler: Autoscaler) -> list[Signal]:
    """Its signals. KEDA's are asked of its metrics server; a HorizontalPodAutoscaler bears its own."""
    return _keda(cluster, autoscaler.item) if autoscaler.kind == "KEDA" else _pods(autoscaler.item)


def _keda(cluster: Cluster, item: Object) -> list[Signal]:
    # KEDA numbers the metrics of a ScaledObject: s0-..., s1-..., in the order of its triggers.
    metrics = {name.partition("-")[0]: name for name in item.get("status", {}).get("externalMetricNames", [])}
    modifiers = item["spec"].get("advanced", {}).get("scalingModifiers", {})
    found = []
    for number, trigger in enumerate(item["spec"]["triggers"]):
        metric = metrics.get(f"s{number}")
        value = cluster.external_metric(metric, f"scaledobject.keda.sh/name={name_of(item)}") if metric else None
        # Under a formula the targets of the single triggers mean nothing.
        target = None if modifiers else trigger["metadata"].get("threshold", trigger["metadata"].get("listLength"))
        found.append(Signal(trigger.get("name", trigger["type"]), _number(value), _number(target)))
    if modifiers:
        known = [signal.value for signal in found if signal.value is not None]
        total = sum(known) if len(known) == len(found) else None
        found.append(Signal("all", total, _number(modifiers["target"])))
    return found


def _pods(item: Object) -> list[Signal]:
    current = {
        each["pods"]["metric"]["name"]: each["pods"]["current"].get("averageValue")
        for each in item.get("status", {}).get("currentMetrics") or []
        if each["type"] == "Pods"
    }
    return [
        Signal(name, _number(current.get(name)), _number(each["pods"]["target"].get("averageValue")))
        for each in item["spec"].get("metrics", [])
        if each["type"] == "Pods"
        for name in [each["pods"]["metric"]["name"]]
    ]


def _number(quantity: str | None) -> float | None:
    from kubernetes.utils.quantity import parse_quantity

    return None if quantity is None else float(parse_quantity(quantity))
