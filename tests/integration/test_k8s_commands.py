"""`auricle k8s` against a stand-in for the API server, with the chart's own objects and the documented rights."""

import asyncio
import copy
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from auricle.cli._app import build_app
from auricle.v1 import decoder_pb2
from services.evaluation.manifest import Example, assistant_turn, write_manifest
from services.kube import cli
from tests.deploy.chart import NAMESPACE, ROOT, release
from tests.kubernetes_api import KubernetesApi, running_kubernetes_api
from tests.kubernetes_controllers import PAUSED, Controllers
from tests.kubernetes_paths import GROUP_VERSIONS, plural_of
from tests.platform_fakes import FakeDecoder, FakeEncoder, running_platform, serve_decoder

pytestmark = pytest.mark.integration

MODEL, OTHER = "Qwen/Qwen2-Audio-7B-Instruct", "house/other"
RULES = yaml.safe_load((ROOT / "deploy" / "rbac" / "operator.yaml").read_text())["rules"]
Run = Callable[..., Result]


@dataclass
class Place:
    """A cluster with a release, and the command line that works on it."""

    api: KubernetesApi
    controllers: Controllers
    run: Run

    def item(self, plural: str, name: str) -> dict[str, Any]:
        return self.api.objects[plural][f"auricle-{name}"]

    def variables(self, deployment: str) -> dict[str, str | None]:
        container = self.item("deployments", deployment)["spec"]["template"]["spec"]["containers"][0]
        return {entry["name"]: entry.get("value") for entry in container["env"]}

    def replicas(self, deployment: str) -> int:
        return int(self.item("deployments", deployment)["spec"]["replicas"])

    def percent(self) -> str | None:
        return self.variables("gateway").get("AURICLE_GATEWAY_CANARY_PERCENT")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    yield from placed("many-gpus", tmp_path, monkeypatch)


def placed(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with running_kubernetes_api(NAMESPACE) as api:
        for manifest in copy.deepcopy(release(example)):
            if plural_of(manifest) in GROUP_VERSIONS:
                api.put(manifest)
        controllers = Controllers(api)
        api.rules = RULES
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr("services.kube.waiting.ASK_SECONDS", 0.02)
        monkeypatch.setattr("services.kube.training.ASK_SECONDS", 0.02)
        app = build_app(plugins=[])
        cli.register(app)
        yield Place(api, controllers, lambda *words, **options: invoke(app, *words, **options))


def invoke(app: typer.Typer, *words: str, ok: bool = True) -> Result:
    result = CliRunner().invoke(app, ["k8s", "--timeout", "1", *words])
    assert (result.exit_code == 0) is ok, result.output
    return result


def test_status_shows_pods_versions_models_queues_and_signals(place: Place) -> None:
    scaled = place.item("scaledobjects", "worker-encode")
    names = [f"s{number}-{trigger['type']}" for number, trigger in enumerate(scaled["spec"]["triggers"])]
    scaled["status"] = {"externalMetricNames": names}
    place.api.metrics = dict(zip(names, ("3", "0", "12", "4500m"), strict=True))
    place.controllers.broken.add("auricle-decoder")
    place.controllers.act("deployments", place.item("deployments", "decoder"))
    labels = place.item("deployments", "decoder")["spec"]["template"]["metadata"]["labels"]
    state = {"waiting": {"reason": "ImagePullBackOff"}}
    status = {"containerStatuses": [{"name": "decoder", "restartCount": 2, "state": state}]}
    place.api.put({"kind": "Pod", "metadata": {"name": "auricle-decoder-x", "labels": labels}, "status": status})
    output = place.run("status", ok=False).output
    rows = {line.split("│")[1].strip(): line for line in output.splitlines() if line.count("│") > 5}
    # Order of the triggers: by label.
    assert re.search(r"bulk 3, interactive 0, normal 12, units 4\.5, all 19\.5/4", rows["worker-encode"])
    assert re.search(
        r"0/2 .* 2 .* 0\.1\.0 .*Qwen/Qwen2-Audio-7B-Instruct .* KEDA 2-32 .*ImagePullBackOff", rows["decoder"]
    )
    assert rows.keys() >= {"gateway", "preprocess", "encoder", "worker-prepare", "upkeep"}


def test_a_fixed_number_pauses_keda_which_would_undo_it_until_it_is_resumed(place: Place) -> None:
    output = place.run("scale", "decoder", "--replicas", "5").output
    assert "will pause KEDA for auricle-decoder at 5 pods; it would undo anything else (KEDA 2-32)" in output
    assert place.item("scaledobjects", "decoder")["metadata"]["annotations"] == {PAUSED: "5"}
    assert place.replicas("decoder") == 5
    place.run("scale", "decoder", "--resume")
    assert PAUSED not in place.item("scaledobjects", "decoder")["metadata"]["annotations"]


def test_limits_are_the_autoscalers(place: Place) -> None:
    assert "keep auricle-worker-encode between 3 and 20 pods" in place.run("scale", "encode", "--min", "3").output
    spec = place.item("scaledobjects", "worker-encode")["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"], place.replicas("worker-encode")) == (3, 20, 3)
    assert "at least 30 and at most 20" in place.run("scale", "encode", "--min", "30", ok=False).output


def test_without_an_autoscaler_the_deployment_is_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in placed("laptop", tmp_path, monkeypatch):
        assert "from 1 to 3 pods" in place.run("scale", "encoder", "--replicas", "3").output
        assert place.replicas("encoder") == 3
        assert "nobody scales auricle-encoder" in place.run("scale", "encoder", "--max", "4", ok=False).output
        place.run("scale", "encoder", "--resume")
        assert place.replicas("encoder") == 1


def test_an_hpa_is_held_by_its_limits_and_gets_the_former_back(place: Place) -> None:
    place.api.delete("auricle-decoder", "scaledobjects")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "auricle-decoder"}
    spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 9}
    place.api.put({"kind": "HorizontalPodAutoscaler", "metadata": {"name": "auricle-decoder"}, "spec": spec})
    place.run("scale", "decoder", "--replicas", "4")
    held = place.item("horizontalpodautoscalers", "decoder")["spec"]
    assert (held["minReplicas"], held["maxReplicas"], place.replicas("decoder")) == (4, 4, 4)
    place.run("scale", "decoder", "--resume")
    freed = place.item("horizontalpodautoscalers", "decoder")["spec"]
    assert (freed["minReplicas"], freed["maxReplicas"]) == (2, 9)


def test_a_rollout_brings_up_both_halves_before_the_gateway_hears_of_them(place: Place) -> None:
    output = place.run("rollout", "start", OTHER, "--share", "10").output
    order = [(verb, name.removeprefix("auricle-")) for verb, _, name in place.api.written]
    assert order[0][0] == "create"
    assert order[0][1].startswith("canary-model-")
    assert order[1:] == [
        ("create", "canary-encoder"),
        ("create", "canary-encoder"),
        ("create", "canary-decoder"),
        ("create", "canary-decoder"),
        ("patch", "gateway"),
    ]
    assert f"will give 10 % of the conversations to {OTHER}" in output
    told = place.variables("gateway")
    assert told["AURICLE_GATEWAY_CANARY_ENCODER_ADDRESS"] == "k8s:///speech/auricle-canary-encoder:grpc"
    assert told["AURICLE_GATEWAY_CANARY_DECODER_ADDRESS"] == "k8s:///speech/auricle-canary-decoder:grpc"
    assert place.percent() == "10"
    assert place.variables("canary-encoder")["AURICLE_ENCODER_MODEL"] == OTHER
    assert place.variables("canary-decoder")["AURICLE_DECODER_CHECKPOINT"] == "/models/house--other/checkpoint"
    waits = place.item("deployments", "canary-decoder")["spec"]["template"]["spec"]["initContainers"][0]["args"]
    assert waits[:2] == ["wait", OTHER]
    assert place.variables("decoder")["AURICLE_DECODER_MODEL_NAME"] == MODEL


def test_what_others_change_at_the_gateway_meanwhile_stays(place: Place) -> None:
    settle = place.api.on_write

    def scaled_meanwhile(plural: str, item: dict[str, Any]) -> None:
        settle(plural, item)
        if item["metadata"]["name"] == "auricle-canary-decoder":
            gateway = copy.deepcopy(place.item("deployments", "gateway"))
            gateway["spec"]["replicas"] = 7
            place.api.put(gateway)
            settle("deployments", place.item("deployments", "gateway"))

    place.api.on_write = scaled_meanwhile
    place.run("rollout", "start", OTHER, "--share", "10", "--filled")
    assert (place.replicas("gateway"), place.percent()) == (7, "10")


def test_the_canarys_objects_are_valid_and_selected_by_no_one_elses_selector(place: Place) -> None:
    place.run("rollout", "start", OTHER)
    made = [
        item
        for items in place.api.objects.values()
        for item in items.values()
        if "-canary-" in item["metadata"]["name"]
    ]
    assert len(made) == 5
    for item in made:
        bare = {key: value for key, value in item.items() if key != "status"}
        bare["metadata"] = {key: value for key, value in item["metadata"].items() if key not in ("generation", "uid")}
        kubernetes_validate.validate(bare, "1.30", strict=True)
    for half in ("encoder", "decoder"):
        stable, canary = place.item("deployments", half), place.item("deployments", f"canary-{half}")
        pods = {name: item["spec"]["template"]["metadata"]["labels"] for name, item in (("s", stable), ("c", canary))}
        for kind, name, chosen in (
            ("deployments", half, "s"),
            ("deployments", f"canary-{half}", "c"),
            ("services", half, "s"),
            ("services", f"canary-{half}", "c"),
        ):
            selector = place.item(kind, name)["spec"]["selector"]
            selector = selector.get("matchLabels", selector)
            assert [pod for pod, labels in pods.items() if selector.items() <= labels.items()] == [chosen]
        policies = [
            m for m in release("many-gpus") if m["kind"] == "NetworkPolicy" and m["metadata"]["name"].endswith(half)
        ]
        assert all(policy["spec"]["podSelector"]["matchLabels"].items() <= pods["c"].items() for policy in policies)
        # Queries of the stable pods' load go by this pattern of names.
        queries = [t["metadata"]["query"] for t in place.item("scaledobjects", half)["spec"]["triggers"]]
        patterns = {match for query in queries for match in re.findall(r'pod=~"([^"]+)"', query)}
        assert patterns
        assert not any(re.fullmatch(pattern, f"auricle-canary-{half}-abc-xyz") for pattern in patterns)


def test_a_second_rollout_is_refused_while_one_is_in_progress(place: Place) -> None:
    place.run("rollout", "start", OTHER)
    assert f"a rollout is in progress: {OTHER}" in place.run("rollout", "start", "house/third", ok=False).output
    assert f"{MODEL} is what the release serves" in fresh(place).run("rollout", "start", MODEL, ok=False).output


def fresh(place: Place) -> Place:
    place.run("rollout", "abort")
    return place


def test_a_promotion_needs_a_comparison_and_never_leaves_the_gateway_without_a_whole_model(place: Place) -> None:
    place.run("rollout", "start", OTHER, "--share", "10")
    assert "was not compared" in place.run("rollout", "promote", ok=False).output
    seen: list[tuple[str | None, str | None, str | None, int, int]] = []
    settle = place.api.on_write

    def watch(plural: str, item: dict[str, Any]) -> None:
        settle(plural, item)
        if "auricle-canary-decoder" in place.api.objects["deployments"]:
            encoder = place.variables("encoder")["AURICLE_ENCODER_MODEL"]
            decoder = place.variables("decoder")["AURICLE_DECODER_MODEL_NAME"]
            seen.append(
                (encoder, decoder, place.percent(), place.replicas("canary-decoder"), place.replicas("worker-encode"))
            )

    place.api.on_write = watch
    before = place.item("deployments", "decoder")["spec"]["template"]
    output = place.run("rollout", "promote", "--force").output
    assert "promoted by force: it was never compared" in output
    assert "set model.name=house/other in its values" in output
    mixed = [state for state in seen if state[0] != state[1]]
    assert mixed
    assert all(state[2:] == ("100", 2, 0) for state in mixed)
    assert place.variables("decoder")["AURICLE_DECODER_MODEL_NAME"] == OTHER
    assert place.percent() is None
    assert not [name for items in place.api.objects.values() for name in items if "canary-encoder" in name]
    assert [place.replicas(f"worker-{queue}") for queue in ("prepare", "encode", "decode")] == [1, 1, 1]
    assert not [
        s for s in place.api.objects["scaledobjects"].values() if PAUSED in (s["metadata"].get("annotations") or {})
    ]
    # The chart, told of the model, would render the same pods: its next upgrade restarts none.
    values = [entry["name"] for entry in before["spec"]["containers"][0]["env"]]
    assert [
        entry["name"]
        for entry in place.item("deployments", "decoder")["spec"]["template"]["spec"]["containers"][0]["env"]
    ] == values


def test_an_abort_takes_the_share_first_and_takes_a_promotion_back_that_got_stuck(place: Place) -> None:
    place.run("rollout", "start", OTHER, "--share", "10")
    place.controllers.broken.add("auricle-decoder")
    assert (
        "auricle-decoder: pods ready: 0 of 2 after 1 s" in place.run("rollout", "promote", "--force", ok=False).output
    )
    assert place.variables("encoder")["AURICLE_ENCODER_MODEL"] == OTHER
    place.controllers.broken.clear()
    place.api.written.clear()
    place.run("rollout", "abort")
    assert place.variables("encoder")["AURICLE_ENCODER_MODEL"] == MODEL
    assert place.variables("decoder")["AURICLE_DECODER_MODEL_NAME"] == MODEL
    told_gateway = [index for index, (verb, _, name) in enumerate(place.api.written) if name == "auricle-gateway"]
    removed = [index for index, (verb, _, name) in enumerate(place.api.written) if verb == "delete"]
    assert max(told_gateway) < min(removed)
    assert len(removed) == 4
    assert "no rollout is in progress" in place.run("rollout", "abort", ok=False).output


@pytest.mark.parametrize(
    "words",
    [
        ("rollout", "start", OTHER, "--share", "5"),
        ("scale", "decoder", "--replicas", "4"),
        ("train", "RECIPE", "--claim", "audio"),
    ],
    ids=lambda words: words[0],
)
def test_a_dry_run_tells_the_plan_and_changes_nothing(place: Place, words: tuple[str, ...], tmp_path: Path) -> None:
    recipe = tmp_path / "sft.toml"
    recipe.write_text('stage = "sft"\n')
    before = copy.deepcopy(place.api.objects)
    output = place.run(*(str(recipe) if word == "RECIPE" else word for word in words), "--dry-run").output
    assert "would " in output
    assert "will " not in output
    assert place.api.objects == before


@pytest.mark.parametrize("has_sets", [True, False], ids=["jobset", "job"])
def test_a_recipe_runs_as_a_jobset_or_a_job_and_is_followed(place: Place, has_sets: bool, tmp_path: Path) -> None:
    recipe = tmp_path / "sft.toml"
    recipe.write_text('stage = "sft"\n')
    if not has_sets:
        # Not in the list of any group, as where the controller is not installed.
        place.api.unknown.add("jobsets")
    output = place.run("train", str(recipe), "--claim", "audio").output
    assert "20/20" in output
    assert "train-sft is done" in output
    assert place.api.objects["configmaps"]["train-sft"]["data"] == {"recipe.toml": 'stage = "sft"\n'}
    kind = "jobsets" if has_sets else "jobs"
    made = place.api.objects[kind]["train-sft"]
    job = made["spec"]["replicatedJobs"][0]["template"]["spec"] if has_sets else made["spec"]
    container = job["template"]["spec"]["containers"][0]
    assert container["image"] == "auricle/trainer:0.1.0"
    assert container["command"][-3:] == ["/recipe/recipe.toml", "--folder", "/data/runs/train-sft"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    if not has_sets:
        kubernetes_validate.validate({k: v for k, v in made.items() if k != "status"}, "1.30", strict=True)
        assert (
            "need the JobSet controller"
            in place.run("train", str(recipe), "--claim", "a", "--nodes", "2", ok=False).output
        )
    assert "already exists" in place.run("train", str(recipe), "--claim", "audio", ok=False).output


def test_a_run_of_several_nodes_meets_at_the_name_of_its_first_pod(place: Place, tmp_path: Path) -> None:
    recipe = tmp_path / "sft.toml"
    recipe.write_text('stage = "sft"\n')
    place.run("train", str(recipe), "--claim", "audio", "--nodes", "3", "--processes", "8", "--detach")
    spec = place.api.objects["jobsets"]["train-sft"]["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    command = spec["template"]["spec"]["containers"][0]["command"]
    options = dict(zip(command[1:11:2], command[2:11:2], strict=True))
    assert options["--master-addr"] == "train-sft-train-0-0.train-sft"
    assert (options["--nnodes"], options["--nproc-per-node"], options["--node-rank"]) == ("3", "8", "$(NODE_RANK)")


def test_a_job_that_fails_ends_the_command(place: Place) -> None:
    place.api.on_write = lambda plural, item: (
        item.update(status={"conditions": [{"type": "Failed", "status": "True", "message": "no such model"}]})
        if plural == "jobs"
        else None
    )
    assert "failed: no such model" in place.run("rollout", "start", OTHER, ok=False).output
    assert place.percent() is None
    assert "auricle-canary-encoder" not in place.api.objects["deployments"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--release", "other", "status"), "no release other in namespace speech; there are auricle"),
        (("--namespace", "elsewhere", "status"), "no release of the chart auricle in namespace elsewhere"),
        (("--context", "nowhere", "status"), "the kubeconfig has no context nowhere"),
        (("scale", "decodr", "--replicas", "1"), "the release has no decodr; it has decoder"),
        (("rollout", "start", "../etc"), "no model is called"),
        (("rollout", "share", "20"), "a rollout is not in progress"),
    ],
)
def test_mistakes_are_told_in_a_line(place: Place, words: tuple[str, ...], told: str) -> None:
    output = place.run(*words, ok=False).output
    assert told in output
    assert "Traceback" not in output


def test_no_cluster_and_no_rights_are_told_with_the_way_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.api.rules = [rule for rule in RULES if "patch" not in rule["verbs"]]
    output = place.run("scale", "decoder", "--replicas", "5", ok=False).output
    assert re.search(r"error: the cluster refuses: scaledobjects is forbidden.*deploy/rbac/operator.yaml", output)
    place.api.close()
    assert "error: cannot reach the cluster" in place.run("status", ok=False).output
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
    assert "error: no cluster:" in place.run("status", ok=False).output


class Mute(FakeDecoder):
    """Answers nothing that was asked for."""

    def _words(self, request: decoder_pb2.GenerateRequest) -> list[str]:
        return ["No."]


@pytest.mark.parametrize("decoder_class", [FakeDecoder, Mute], ids=["as good", "worse"])
async def test_both_models_are_asked_the_same_and_the_verdict_decides_about_promotion(
    place: Place, decoder_class: type[FakeDecoder], tmp_path: Path
) -> None:
    place.run("rollout", "start", OTHER)
    write_manifest(tmp_path / "held-out.jsonl", [question(number) for number in range(4)])
    encoder, decoder = FakeEncoder(), decoder_class()
    encoder.fingerprint = decoder.fingerprint = "c4" * 32
    decoder.model = OTHER
    async with serve_decoder(decoder) as server:
        addresses = {
            "canary_encoder_address": "127.0.0.1:1",
            "canary_decoder_address": f"127.0.0.1:{server.port}",
        }
        async with running_platform(canary_encoder=encoder, **addresses) as platform:
            app = build_app(plugins=[])
            cli.register(app)
            words = ["--address", f"127.0.0.1:{platform.gateway.port}", "k8s", "rollout", "compare"]
            words += ["--manifest", str(tmp_path / "held-out.jsonl")]
            result = await asyncio.to_thread(CliRunner().invoke, app, words)
            assert (len(platform.decoder.requests), len(decoder.requests)) == (4, 4)
    assert re.search(r"typed_question test .*1\.000", result.output)
    if decoder_class is Mute:
        assert result.exit_code == 3
        assert "failed: typed_question test loses 100.0; no task may lose more than 2 points" in result.output
        assert "speaks against it" in place.run("rollout", "promote", ok=False).output
    else:
        assert result.exit_code == 0, result.output
        assert "passed: 1 tasks, 4 questions; no task may lose more than 2 points" in result.output
        place.run("rollout", "promote")
        assert place.variables("decoder")["AURICLE_DECODER_MODEL_NAME"] == OTHER


def test_every_command_of_the_operations_page_runs(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.toml").write_text('stage = "sft"\n')
    write_manifest(tmp_path / "held-out.jsonl", [question(1)])
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "operations.md").read_text()
    commands = [shlex.split(line) for line in re.findall(r"^ {4}(auricle [^\n†]*k8s [^\n†]*)", page, re.MULTILINE)]
    assert len(commands) > 10
    for command in commands:
        words = command[command.index("k8s") + 1 :]
        if "abort" in words:
            place.run("rollout", "start", "house/third", "--filled")
        # A run cannot be made twice, the gateway is not here, and nothing was compared.
        further = {"train": "--dry-run", "compare": "--dry-run", "promote": "--force"}
        place.run(*words, *(option for word, option in further.items() if word in words))
    assert place.variables("decoder")["AURICLE_DECODER_MODEL_NAME"] == "house/new-model"
    assert place.percent() is None


def question(number: int) -> Example:
    messages = [{"role": "user", "content": f"Say word{number}."}, assistant_turn(f"word{number}")]
    return Example(str(number), "typed_question", "test", "none", "here", [], messages, choices=[f"word{number}"])
