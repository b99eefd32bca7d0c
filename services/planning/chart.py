"""What the Helm chart says about replicas, limits and scaling, read from its values.

Values of replicas, targets and the services' settings come from `values.yaml` and the files laid over it. What stands
in the chart's templates (polling, policies) and defaults of the services' settings are constants here, which
`tests/deploy/test_plan_rules.py` compares with the rendered chart and with the settings' classes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.planning.documents import text_of
from services.planning.errors import PlanningError
from services.planning.scenario import laid_over

VALUES = Path(__file__).parents[2] / "deploy" / "helm" / "auricle" / "values.yaml"
CPU_SERVICES = ("gateway", "preprocess", "worker")
SERVICES = ("gateway", "preprocess", "worker", "encoder", "decoder")


@dataclass(frozen=True)
class Behavior:
    """How fast replicas come and go; `_scaling.tpl` has the same.

    Attributes:
        poll_seconds: between two decisions.
        in_after_seconds: how long the load must have been lower before a replica goes.
        out_percent, out_pods, out_period_seconds: most replicas that come in a period, the larger of both.
        in_pods, in_period_seconds: most replicas that go in a period.
        tolerance: deviation from the target that the HorizontalPodAutoscaler lets pass.
    """

    in_after_seconds: float = 300.0
    poll_seconds: float = 15.0
    out_percent: float = 100.0
    out_pods: int = 2
    out_period_seconds: float = 30.0
    in_pods: int = 1
    in_period_seconds: float = 60.0
    tolerance: float = 0.1


@dataclass(frozen=True)
class Bounds:
    """A service's replicas, and by signal what one replica should have in hand."""

    least: int
    most: int
    targets: Mapping[str, float]


@dataclass(frozen=True)
class Limits:
    """Settings of the services that queues and batches depend on; defaults are those of their settings' classes.

    Attributes:
        chats: in progress in one gateway.
        recordings, recordings_waiting, recordings_wait_seconds: of one preprocess.
        preprocess_cores: processors of one preprocess.
        batch_clips, batch_delay_us, instances, clips_waiting: of one Triton.
        running, waiting, kv_cache_tokens, step_tokens, bulk_step_tokens: of one decoder.
        units: that a worker has in hand at once.
    """

    chats: int = 64
    recordings: int = 4
    recordings_waiting: int = 64
    recordings_wait_seconds: float = 5.0
    preprocess_cores: float = 2.0
    batch_clips: int = 16
    batch_delay_us: int = 0
    instances: int = 1
    clips_waiting: int = 128
    running: int = 16
    waiting: int = 64
    kv_cache_tokens: int = 16384
    step_tokens: int = 256
    bulk_step_tokens: int = 16
    units: int = 4


# By limit, the service and the name of its setting.
SETTINGS = {
    "chats": ("gateway", "max_concurrent_chats"),
    "recordings": ("preprocess", "max_concurrent"),
    "recordings_waiting": ("preprocess", "max_queue"),
    "recordings_wait_seconds": ("preprocess", "max_queue_seconds"),
    "batch_clips": ("encoder", "max_batch_size"),
    "batch_delay_us": ("encoder", "max_queue_delay_us"),
    "instances": ("encoder", "instances"),
    "clips_waiting": ("encoder", "max_queue_size"),
    "running": ("decoder", "max_running"),
    "waiting": ("decoder", "max_waiting"),
    "kv_cache_tokens": ("decoder", "kv_cache_tokens"),
    "step_tokens": ("decoder", "step_tokens"),
    "bulk_step_tokens": ("decoder", "bulk_step_tokens"),
    "units": ("workers", "concurrency"),
}


@dataclass(frozen=True)
class Rules:
    """All of it; `scaled` is False where the release has no scaler and keeps the least replicas."""

    scaled: bool
    behavior: Behavior
    bounds: Mapping[str, Bounds]
    limits: Limits


def read_values(files: Iterable[Path], chart: Path = VALUES) -> dict[str, Any]:
    """The chart's values with the files over them, in their order.

    Raises:
        PlanningError: a file cannot be read or is no table.
    """
    import yaml

    values: dict[str, Any] = {}
    for file in (chart, *files):
        try:
            content = yaml.safe_load(text_of(file))
        except yaml.YAMLError as error:
            raise PlanningError(f"{file}: {error}") from None
        if not isinstance(content, dict):
            raise PlanningError(f"{file}: not a file of values")
        values = laid_over(values, content)
    return values


def rules_of(values: Mapping[str, Any]) -> Rules:
    """The rules in a chart's values.

    Raises:
        PlanningError: a value is missing or not of its kind.
    """
    try:
        blocks = {name: values[name] for name in ("gateway", "preprocess", "encoder", "decoder")}
        # Jobs' windows spend their time in encoding and decoding; both kinds of worker have the same rules by default.
        blocks["worker"] = values["workers"]["decode"]
        settings = {**blocks, "workers": values["workers"]}
        given = {
            limit: settings[service]["settings"][setting]
            for limit, (service, setting) in SETTINGS.items()
            if setting in (settings[service].get("settings") or {})
        }
        cores = _cores(values["preprocess"]["resources"]["requests"]["cpu"])
        bounds = {name: _bounds(name, block) for name, block in blocks.items()}
        behavior = Behavior(in_after_seconds=float(values["scaling"]["scaleInAfterSeconds"]))
        return Rules(values["scaling"]["mode"] != "none", behavior, bounds, Limits(**given, preprocess_cores=cores))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PlanningError(f"the chart's values: {type(error).__name__}: {error}") from None


def _bounds(name: str, block: Mapping[str, Any]) -> Bounds:
    least, most = int(block["replicas"]["min"]), int(block["replicas"]["max"])
    targets = {signal: float(target) for signal, target in block["targets"].items()}
    if not 1 <= least <= most or any(target <= 0 for target in targets.values()):
        raise PlanningError(f"the chart's values: {name}: replicas {least} to {most}, targets {targets}")
    return Bounds(least, most, targets)


def _cores(quantity: Any) -> float:
    """A Kubernetes quantity of processors: 2, "2" or "250m"."""
    text = str(quantity)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
