"""The planner's rules are those of the chart and of the services' settings."""

import pytest
import yaml

from services.common.settings import Settings
from services.decoder.kv_cache import BLOCK_TOKENS
from services.decoder.scheduler import BULK_PATIENCE_SECONDS, BULK_STANDS_BACK_SECONDS, INTERACTIVE_EXPECTED_SECONDS
from services.decoder.settings import DecoderSettings
from services.encoder.settings import EncoderSettings
from services.gateway.settings import GatewaySettings
from services.jobs.settings import WorkerSettings
from services.pipeline.replicas import LOAD_FACTOR
from services.planning import decoding, fleet
from services.planning.chart import SERVICES, SETTINGS, Limits, Rules, read_values, rules_of
from services.planning.signals import Signals
from services.planning.simulation import Platform, Setup
from services.preprocess.settings import PreprocessSettings
from tests.deploy.chart import CHART, EXAMPLES, named, release
from tests.unit.planning.scenarios import PROFILE

pytestmark = pytest.mark.deploy

CLASSES: dict[str, type[Settings]] = {
    "gateway": GatewaySettings,
    "preprocess": PreprocessSettings,
    "encoder": EncoderSettings,
    "decoder": DecoderSettings,
    "workers": WorkerSettings,
}


def rules(name: str) -> Rules:
    return rules_of(read_values([CHART / f"values-{name}.yaml"]))


def test_replicas_targets_and_pace_are_those_of_the_rendered_scalers() -> None:
    name = "many-gpus"
    mine = rules(name)
    for service in SERVICES:
        deployment = "worker-decode" if service == "worker" else service
        spec = named(release(name), "ScaledObject", f"auricle-{deployment}")["spec"]
        assert mine.bounds[service].least == spec["minReplicaCount"]
        assert mine.bounds[service].most == spec["maxReplicaCount"]
        assert mine.behavior.poll_seconds == spec["pollingInterval"]
        targets = {t["name"]: float(t["metadata"]["threshold"]) for t in spec["triggers"] if t["type"] == "prometheus"}
        assert mine.bounds[service].targets == targets
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        policies = {p["type"]: p for p in behavior["scaleUp"]["policies"]}
        assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
        assert policies["Percent"] == {
            "type": "Percent",
            "value": mine.behavior.out_percent,
            "periodSeconds": mine.behavior.out_period_seconds,
        }
        assert (policies["Pods"]["value"], policies["Pods"]["periodSeconds"]) == (
            mine.behavior.out_pods,
            mine.behavior.out_period_seconds,
        )
        [gone] = behavior["scaleDown"]["policies"]
        assert gone["type"] == "Pods"
        assert (gone["value"], gone["periodSeconds"]) == (mine.behavior.in_pods, mine.behavior.in_period_seconds)
        assert behavior["scaleDown"]["stabilizationWindowSeconds"] == mine.behavior.in_after_seconds


@pytest.mark.parametrize("limit", SETTINGS)
def test_a_limit_is_the_setting_that_it_names_with_the_same_default(limit: str) -> None:
    service, setting = SETTINGS[limit]
    field = CLASSES[service].model_fields[setting]
    if setting != "max_concurrent":  # it follows the processors, and the chart always sets it
        assert getattr(Limits(), limit) == field.default


@pytest.mark.parametrize("name", EXAMPLES)
def test_there_are_scalers_where_the_planner_takes_them_for_granted(name: str) -> None:
    assert rules(name).scaled == any(manifest["kind"] == "ScaledObject" for manifest in release(name))


def test_settings_of_an_example_are_taken() -> None:
    assert rules("many-gpus").limits.running == 32
    assert rules("many-gpus").limits.waiting == 128


def test_the_simulation_has_every_signal_of_the_chart() -> None:
    declared = yaml.safe_load((CHART / "files" / "signals.yaml").read_text())
    signals = Signals(Platform(Setup(rules("many-gpus"), PROFILE, dict.fromkeys(SERVICES, 1)), 0.0))
    for service in SERVICES:
        names = declared["worker-decode" if service == "worker" else service]
        assert set(signals.of(service)) == set(names) == set(rules("many-gpus").bounds[service].targets)


def test_constants_of_the_services_are_the_same_here() -> None:
    assert decoding.BLOCK_TOKENS == BLOCK_TOKENS
    assert decoding.BULK_PATIENCE_SECONDS == BULK_PATIENCE_SECONDS
    assert decoding.BULK_STANDS_BACK_SECONDS == BULK_STANDS_BACK_SECONDS
    assert decoding.INTERACTIVE_EXPECTED_SECONDS == INTERACTIVE_EXPECTED_SECONDS
    assert fleet.LOAD_FACTOR == LOAD_FACTOR
