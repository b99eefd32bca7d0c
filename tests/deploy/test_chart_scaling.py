"""Who is scaled, on what, and who may talk to whom."""

import re
from typing import Any

import pytest
import yaml
from kombu.transport.redis import Channel

from services.jobs.settings import WorkerSettings
from services.jobstore.dispatch import PRIORITY_STEPS, QUEUE_OF, QUEUES, UPKEEP_QUEUE
from services.jobstore.model import Step
from tests.deploy.chart import (
    CHART,
    EXAMPLES,
    Manifest,
    example,
    manifests,
    merged,
    named,
    of_kind,
    pod_templates,
    release,
)

pytestmark = pytest.mark.deploy

SIGNALS: dict[str, dict[str, str]] = yaml.safe_load((CHART / "files" / "signals.yaml").read_text())


@pytest.fixture(scope="module")
def by_hpa() -> list[Manifest]:
    return manifests(merged(example("many-gpus"), {"scaling": {"mode": "hpa"}}))


def test_keda_scales_every_service_but_the_clock() -> None:
    deployments = {m["metadata"]["name"] for m in of_kind(release("many-gpus"), "Deployment")}
    targets = [m["spec"]["scaleTargetRef"]["name"] for m in of_kind(release("many-gpus"), "ScaledObject")]
    assert sorted(targets) == sorted(deployments - {"auricle-upkeep"})
    assert sorted(targets) == sorted(f"auricle-{name}" for name in SIGNALS)


def test_a_scaled_deployment_leaves_its_replicas_to_the_scaler() -> None:
    scaled = {m["spec"]["scaleTargetRef"]["name"] for m in of_kind(release("many-gpus"), "ScaledObject")}
    for deployment in of_kind(release("many-gpus"), "Deployment"):
        assert ("replicas" in deployment["spec"]) == (deployment["metadata"]["name"] not in scaled)


def test_without_a_scaler_deployments_have_the_least_replicas() -> None:
    for deployment in of_kind(release("laptop"), "Deployment"):
        assert deployment["spec"]["replicas"] == 1
    assert not list(of_kind(release("laptop"), "ScaledObject", "HorizontalPodAutoscaler"))


def test_every_trigger_has_a_target_and_asks_for_its_own_pods() -> None:
    for scaled in of_kind(release("many-gpus"), "ScaledObject"):
        name = scaled["metadata"]["name"]
        triggers = [t for t in scaled["spec"]["triggers"] if t["type"] == "prometheus"]
        assert triggers
        for trigger in triggers:
            metadata = trigger["metadata"]
            assert float(metadata["threshold"]) > 0
            assert f'pod=~"{name}-.*"' in metadata["query"]
            assert "SELECTOR" not in metadata["query"]
            assert metadata["ignoreNullValues"] == "false"
            # The fallback works for no other kind.
            assert trigger["metricType"] == "AverageValue"


@pytest.mark.parametrize("queue", sorted(set(QUEUES) - {UPKEEP_QUEUE}))
def test_workers_follow_every_priority_list_that_celery_makes(queue: str) -> None:
    scaled = named(release("many-gpus"), "ScaledObject", f"auricle-worker-{queue}")["spec"]
    lists = {t["name"]: t["metadata"]["listName"] for t in scaled["triggers"] if t["type"] == "redis"}
    assert set(lists.values()) == celery_lists(queue)
    terms = set(scaled["advanced"]["scalingModifiers"]["formula"].split(" + "))
    assert terms == {t["name"] for t in scaled["triggers"]} == {*lists, "units"}
    concurrency = example_concurrency()
    assert float(scaled["advanced"]["scalingModifiers"]["target"]) == concurrency


def celery_lists(queue: str) -> set[str]:
    """Names of the lists that kombu keeps a queue in."""
    channel = object.__new__(Channel)
    channel.priority_steps = PRIORITY_STEPS
    return {channel._q_for_pri(queue, step) for step in PRIORITY_STEPS}


def example_concurrency() -> float:
    worker = pod_templates(release("many-gpus"))["auricle-worker-encode"]["spec"]["containers"][0]
    values = {entry["name"]: entry.get("value") for entry in worker["env"]}
    assert WorkerSettings.model_fields["concurrency"]
    return float(values["AURICLE_WORKER_CONCURRENCY"])


def test_every_kind_of_work_has_workers_that_scale() -> None:
    assert {QUEUE_OF[step] for step in Step} == {n.removeprefix("worker-") for n in SIGNALS if n.startswith("worker-")}


def test_keda_reads_redis_with_the_password() -> None:
    [authentication] = of_kind(release("many-gpus"), "TriggerAuthentication")
    secret = authentication["spec"]["secretTargetRef"][0]
    assert (secret["parameter"], secret["name"], secret["key"]) == ("password", "auricle-redis", "password")
    for scaled in of_kind(release("many-gpus"), "ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            if trigger["type"] == "redis":
                assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
                assert trigger["metadata"]["address"] == "auricle-redis.speech:6379"


def test_replicas_come_at_once_and_go_one_by_one_after_a_while(by_hpa: list[Manifest]) -> None:
    behaviors = [
        m["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        for m in of_kind(release("many-gpus"), "ScaledObject")
    ]
    behaviors += [m["spec"]["behavior"] for m in of_kind(by_hpa, "HorizontalPodAutoscaler")]
    assert len(behaviors) == 2 * len(SIGNALS)
    for behavior in behaviors:
        assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
        assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 300
        assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_hpa_scales_on_the_same_signals_through_rules_that_come_with_it(by_hpa: list[Manifest]) -> None:
    rules = yaml.safe_load(named(by_hpa, "ConfigMap", "auricle-adapter-rules")["data"]["rules.yaml"])
    served = {rule["name"]["as"]: rule["metricsQuery"] for rule in rules}
    assert len(served) == len(rules) == sum(map(len, SIGNALS.values()))
    wanted = []
    for scaler in of_kind(by_hpa, "HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == scaler["metadata"]["name"]
        named(by_hpa, "Deployment", scaler["metadata"]["name"])
        wanted += [metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"]]
    assert sorted(wanted) == sorted(served)
    assert all("<<.LabelMatchers>>" in query and "SELECTOR" not in query for query in served.values())
    for rule in rules:
        assert re.match(r"\w+", rule["seriesQuery"])[0] in rule["metricsQuery"]  # type: ignore[index]


def policies(name: str) -> list[dict[str, Any]]:
    return [m["spec"] for m in of_kind(release(name), "NetworkPolicy")]


def selected_by(selector: dict[str, Any], name: str) -> set[str]:
    """Owners of the pods that a podSelector means."""
    labels = selector.get("matchLabels", {}).items()
    return {
        owner
        for owner, template in pod_templates(release(name)).items()
        if labels <= template["metadata"]["labels"].items()
    }


@pytest.mark.parametrize("name", [n for n in EXAMPLES if n != "laptop"])
def test_everything_is_denied_that_is_not_allowed(name: str) -> None:
    deny = named(release(name), "NetworkPolicy", "auricle-default-deny")["spec"]
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert deny.keys() == {"podSelector", "policyTypes"}
    assert selected_by(deny["podSelector"], name) == set(pod_templates(release(name)))
    for policy in policies(name):
        assert selected_by(policy["podSelector"], name), policy


def allowed(name: str, direction: str, side: str) -> set[tuple[str, str, str]]:
    """Pairs of pods and the port between them, as one direction of the policies allows it: (from, to, port)."""
    pairs = set()
    for policy in policies(name):
        mine = selected_by(policy["podSelector"], name)
        for rule in policy.get(direction, []):
            for peer in rule.get(side, []):
                if "podSelector" not in peer or not peer["podSelector"]:
                    continue
                for own in mine:
                    for other in selected_by(peer["podSelector"], name):
                        ends = (other, own) if direction == "ingress" else (own, other)
                        pairs |= {(*ends, str(port["port"])) for port in rule["ports"]}
    return pairs


@pytest.mark.parametrize("name", [n for n in EXAMPLES if n != "laptop"])
def test_what_a_service_may_send_the_other_may_take_and_nothing_else(name: str) -> None:
    outgoing, incoming = allowed(name, "egress", "to"), allowed(name, "ingress", "from")
    assert outgoing == incoming
    callers = {f"auricle-{n}" for n in ("gateway", "worker-prepare", "worker-encode", "worker-decode", "upkeep")}
    expected = {(c, f"auricle-{s}", "grpc") for c in callers for s in ("preprocess", "encoder", "decoder")}
    assert outgoing == expected | {(c, "auricle-redis", "redis") for c in callers}


def test_what_hears_recordings_and_runs_models_cannot_reach_the_outside() -> None:
    for service in ("preprocess", "encoder", "decoder"):
        policy = named(release("one-gpu"), "NetworkPolicy", f"auricle-{service}")["spec"]
        peers = [peer for rule in policy["egress"] for peer in rule["to"]]
        assert all(peer.get("ipBlock", {}).get("cidr", "") != "0.0.0.0/0" for peer in peers)


def test_clients_reach_the_gateway_only_through_the_ingress() -> None:
    policy = named(release("many-gpus"), "NetworkPolicy", "auricle-gateway")["spec"]
    [rule] = [rule for rule in policy["ingress"] if rule["ports"] == [{"port": "grpc"}]]
    assert rule["from"] == example("many-gpus")["networkPolicy"]["clients"]
