"""Which metrics there are, and which of them a PromQL expression names."""

import importlib
import re

from prometheus_client import REGISTRY

MODULES = (
    "services.common.telemetry",
    "services.decoder.metrics",
    "services.jobs.metrics",
    "services.pipeline.metrics",
    "services.preprocess.metrics",
)
# Triton's, by docs/user_guide/metrics.md of its repository; tests/integration asks a running one for them.
TRITON = {
    "nv_inference_compute_infer_duration_us",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_pending_request_count",
    "nv_inference_queue_duration_us",
    "nv_inference_request_failure",
    "nv_inference_request_success",
}
_ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
_NAME = re.compile(r"\b(?:auricle|nv)_[a-z_]+\b")


def exported() -> set[str]:
    """Names of all samples that the services and Triton export."""
    for module in MODULES:
        importlib.import_module(module)
    families = [f for f in REGISTRY.collect() if f.name.startswith("auricle_")]
    return TRITON | {family.name + ending for family in families for ending in _ENDINGS[family.type]}


def named_in(text: str) -> set[str]:
    """Names of the platform's metrics in a text of PromQL."""
    return set(_NAME.findall(text))
