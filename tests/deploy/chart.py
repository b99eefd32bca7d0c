"""The chart, rendered by Helm's own library."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "auricle"
# Every whole example of values that the chart ships.
EXAMPLES = tuple(sorted(path.stem.removeprefix("values-") for path in CHART.glob("values-*.yaml")))
RELEASE, NAMESPACE = "auricle", "speech"

Manifest = dict[str, Any]


def example(name: str) -> dict[str, Any]:
    """The values of an example."""
    values: dict[str, Any] = yaml.safe_load((CHART / f"values-{name}.yaml").read_text())
    return values


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Values with changes laid over them, as Helm lays one file over another."""
    result = dict(values)
    for key, value in changes.items():
        result[key] = merged(result.get(key, {}), value) if isinstance(value, dict) else value
    return result


@functools.cache
def chart() -> Chart:
    """The chart, loaded once."""
    return Chart.load(CHART)


def render(values: dict[str, Any]) -> dict[str, str]:
    """By template, what Helm makes of the chart; the schema of values is asked first, as `helm install` does.

    Raises:
        HelmError: the values are refused, by the schema or by a template.
    """
    chart().validate_schema(values)
    return chart().render(values, name=RELEASE, namespace=NAMESPACE)


def manifests(values: dict[str, Any]) -> list[Manifest]:
    """The objects of a release with these values."""
    texts = (text for name, text in render(values).items() if name.endswith(".yaml"))
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


@functools.cache
def release(name: str) -> tuple[Manifest, ...]:
    """The objects of an example, rendered once. Nobody changes them."""
    return tuple(manifests(example(name)))


def of_kind(objects: tuple[Manifest, ...] | list[Manifest], *kinds: str) -> Iterator[Manifest]:
    """Those of some kinds."""
    return (manifest for manifest in objects if manifest["kind"] in kinds)


def named(objects: tuple[Manifest, ...] | list[Manifest], kind: str, name: str) -> Manifest:
    """The one of this kind and name."""
    return next(manifest for manifest in of_kind(objects, kind) if manifest["metadata"]["name"] == name)


def pod_templates(objects: tuple[Manifest, ...] | list[Manifest]) -> dict[str, Manifest]:
    """By the name of what makes them, all pod templates."""
    return {m["metadata"]["name"]: m["spec"]["template"] for m in of_kind(objects, "Deployment", "StatefulSet", "Job")}


def variables(container: dict[str, Any]) -> dict[str, str | None]:
    """A container's environment; None for what comes from a secret."""
    return {entry["name"]: entry.get("value") for entry in container.get("env", [])}
