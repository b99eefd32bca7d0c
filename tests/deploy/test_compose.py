"""docker-compose.yml: Compose takes it, services are told what `auricle up` tells them, and are locked in."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
import yaml

from services.common import settings as ports
from services.jobs.__main__ import parse
from services.jobstore.dispatch import QUEUES
from services.local.platform import PlatformConfig, process_specs
from tests.deploy.chart import ROOT
from tests.deploy.settings_schema import SETTINGS
from tests.deploy.test_chart import parse_setting

pytestmark = pytest.mark.deploy

SCHEMA = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
OURS = ("gateway", "preprocess", "encoder", "encoder-gpu", "decoder", "decoder-gpu", "worker")
_VARIABLE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)(?::\+([^}]*))?\})")


def environment() -> dict[str, str]:
    """What .env says."""
    lines = (ROOT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def compose(**given: str) -> dict[str, Any]:
    """docker-compose.yml with its variables filled in, as Compose does it; an unknown one is an error."""
    known = environment() | given

    def value(match: re.Match[str]) -> str:
        plain, braced, instead = match.groups()
        if not plain and not braced:
            return "$"
        told = known[plain or braced]
        return told if instead is None else fill(instead) if told else ""

    def fill(text: str) -> str:
        return _VARIABLE.sub(value, text)

    return apply(yaml.safe_load((ROOT / "docker-compose.yml").read_text()), fill)


def apply(tree: Any, change: Callable[[str], str]) -> Any:
    """The tree with every text changed."""
    if isinstance(tree, dict):
        return {key: apply(value, change) for key, value in tree.items()}
    if isinstance(tree, list):
        return [apply(value, change) for value in tree]
    return change(tree) if isinstance(tree, str) else tree


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(compose()["services"])


def test_it_is_what_compose_takes() -> None:
    jsonschema.validate(compose(), json.loads(SCHEMA.read_text()))


def test_the_worker_takes_its_command_and_keeps_the_clock(services: dict[str, Any]) -> None:
    command = services["worker"]["command"]
    assert command[:3] == ["python", "-m", "services.jobs"]
    arguments = parse(command[3:])
    assert arguments.beat
    assert set(arguments.queues) == set(QUEUES)


def test_every_port_is_written_once_and_is_that_of_auricle_up() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    numbers = {name: int(value) for name, value in environment().items() if name.endswith("_PORT")}
    assert len(set(numbers.values())) == len(numbers)
    for name, number in numbers.items():
        assert str(number) not in text
        expected = getattr(ports, name.removeprefix("AURICLE_"), None)
        assert expected in (None, number), name
    assert {name.removeprefix("AURICLE_") for name in numbers} >= {n for n in vars(ports) if n.endswith("_PORT")}


@pytest.mark.parametrize("traces", ["", "on"])
@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_with_a_value_that_it_takes(name: str, traces: str) -> None:
    given = compose(TRACES=traces)["services"][name]["environment"]
    assert given.pop("OTEL_EXPORTER_OTLP_ENDPOINT", "").startswith("http") == (traces != "" and "encoder" not in name)
    for variable, text in given.items():
        prefix, field = re.fullmatch(r"AURICLE_([A-Z]+)_(\w+)", variable).groups()  # type: ignore[union-attr]
        assert prefix.lower() == name.removesuffix("-gpu")
        parse_setting(SETTINGS[prefix], field.lower(), str(text))


def test_the_services_are_told_what_auricle_up_tells_them(services: dict[str, Any], tmp_path: Path) -> None:
    config = PlatformConfig("m", tmp_path, tmp_path, tmp_path)
    for spec in process_specs(config):
        if spec.name in ("redis", "encoder"):
            continue
        prefix = f"AURICLE_{spec.name.upper()}_"
        told = {name for name in spec.environment if name.startswith(prefix)}
        there = services[spec.name]
        missing = told - there["environment"].keys() - {name for name in told if name in str(there.get("command"))}
        assert not missing


def test_services_are_pointed_at_each_other(services: dict[str, Any]) -> None:
    for name in OURS:
        for variable, value in services[name]["environment"].items():
            if variable.endswith(("_ADDRESS", "_REDIS_URL")):
                host, port = re.fullmatch(r"(?:redis://)?([\w-]+):(\d+)(?:/0)?", value).groups()  # type: ignore[union-attr]
                assert host in services
                assert set(services[host].get("networks", [])) & set(services[name]["networks"])
                assert port in str(services[host]["healthcheck"]) or host == "encoder"


def test_it_starts_in_the_order_of_health(services: dict[str, Any]) -> None:
    for name in ("gateway", "worker"):
        waits = services[name]["depends_on"]
        assert {"redis", "preprocess", "encoder", "decoder", "encoder-gpu", "decoder-gpu"} == waits.keys()
        assert {wait["condition"] for wait in waits.values()} == {"service_healthy"}
        for other, wait in waits.items():
            # Only one of the two kinds is there.
            assert wait.get("required", True) == ("profiles" not in services[other])
            assert "healthcheck" in services[other]
    for name in ("encoder", "encoder-gpu", "decoder", "decoder-gpu"):
        assert services[name]["depends_on"] == {"model": {"condition": "service_completed_successfully"}}


def test_nothing_runs_with_rights_or_writes_its_root(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service
        assert ":latest" not in service["image"]
        assert ":" in service["image"]


def test_what_hears_recordings_and_runs_models_has_no_way_out(services: dict[str, Any]) -> None:
    assert compose()["networks"]["services"]["internal"] is True
    for name in ("preprocess", "encoder", "decoder", "encoder-gpu", "decoder-gpu", "worker", "redis"):
        assert set(services[name]["networks"]) == {"services"}, name
        assert "ports" not in services[name], name


def test_ports_are_published_on_this_machine_alone(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len(published) == 4
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_model_volume_is_written_by_its_job_alone(services: dict[str, Any]) -> None:
    mounts = {name: m for name, service in services.items() for m in service.get("volumes", []) if "models:" in m}
    assert {name for name, mount in mounts.items() if not mount.endswith(":ro")} == {"model"}
    assert {"encoder", "encoder-gpu", "decoder", "decoder-gpu", "model"} == mounts.keys()


def test_every_volume_config_and_file_is_there(services: dict[str, Any]) -> None:
    whole = compose()
    for service in services.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in whole["volumes"]
        for config in service.get("configs", []):
            assert config["source"] in whole["configs"]
    for config in whole["configs"].values():
        assert "content" in config or (ROOT / config["file"]).exists()


def test_prometheus_asks_every_service_at_its_metrics_port(services: dict[str, Any]) -> None:
    config = yaml.safe_load(compose()["configs"]["prometheus"]["content"])
    targets = [entry for job in config["scrape_configs"] for entry in job["static_configs"]]
    asked = {entry["labels"]["service"]: entry["targets"] for entry in targets}
    assert asked == {
        name: [f"{name}:{services[name]['environment'][f'AURICLE_{name.upper()}_METRICS_PORT']}"]
        for name in ("gateway", "preprocess", "encoder", "decoder", "worker")
    }
