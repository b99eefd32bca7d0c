"""The chart: every manifest is one that Kubernetes takes, and every pod is run as it should be."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python import lint
from pydantic import BaseModel, TypeAdapter, ValidationError

from services.common import settings as ports
from services.encoder.ready import folder
from services.jobs.__main__ import parse
from services.jobs.settings import WorkerSettings
from services.pipeline.endpoints import check_target
from services.preprocess.settings import PreprocessSettings
from tests.deploy.chart import (
    CHART,
    EXAMPLES,
    NAMESPACE,
    Manifest,
    example,
    manifests,
    merged,
    named,
    of_kind,
    pod_templates,
    release,
    render,
    variables,
)
from tests.deploy.settings_schema import SETTINGS

pytestmark = pytest.mark.deploy

# Objects of operators, whose schemas Kubernetes does not have.
CUSTOM = {"Certificate", "Issuer", "PodMonitor", "PrometheusRule", "ScaledObject", "TriggerAuthentication"}
# Variables that are not settings of a service: libraries read them, or Kubernetes puts them into others.
OTHER_VARIABLES = {"AURICLE_LOG_LEVEL", "OTEL_EXPORTER_OTLP_ENDPOINT", "REDIS_PASSWORD", "HF_HOME", "HF_TOKEN"}
SERVERS = {
    "gateway": ports.GATEWAY_PORT,
    "preprocess": ports.PREPROCESS_PORT,
    "decoder": ports.DECODER_PORT,
    "encoder": ports.ENCODER_GRPC_PORT,
}
KUBERNETES = ("1.30", "1.37")
in_every_example = pytest.mark.parametrize("name", EXAMPLES)


def quantity(text: str | int) -> float:
    """A Kubernetes quantity as a number."""
    number, unit = re.fullmatch(r"([\d.]+)(\D*)", str(text)).groups()  # type: ignore[union-attr]
    factors = {"": 1, "m": 1e-3, "Mi": 2**20, "Gi": 2**30, "k": 1e3, "M": 1e6, "G": 1e9, "kb": 2**10, "mb": 2**20}
    return float(number) * {**factors, "gb": 2**30}[unit]


def all_containers(template: Manifest) -> list[dict[str, Any]]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def selects(selector: dict[str, str], template: Manifest) -> bool:
    return selector.items() <= template["metadata"]["labels"].items()


@in_every_example
def test_the_chart_lints(name: str) -> None:
    messages = lint(CHART, values=example(name), strict=True)["messages"]
    assert [m for m in messages if m["severity"] > 1] == []


@in_every_example
@pytest.mark.parametrize("version", KUBERNETES)
def test_every_manifest_is_valid_kubernetes(name: str, version: str) -> None:
    for manifest in release(name):
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)


@in_every_example
def test_names_are_unique_and_everything_is_in_the_namespace(name: str) -> None:
    names = [(m["kind"], m["metadata"]["name"]) for m in release(name)]
    assert len(set(names)) == len(names)
    assert {m["metadata"]["namespace"] for m in release(name)} == {NAMESPACE}


@in_every_example
def test_every_pod_meets_the_restricted_standard_and_writes_no_root(name: str) -> None:
    for template in pod_templates(release(name)).values():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all("hostPath" not in volume for volume in spec.get("volumes", []))
        for container in all_containers(template):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["readOnlyRootFilesystem"] is True


@in_every_example
def test_no_pod_has_more_rights_in_the_cluster_than_it_needs_or_variables_of_its_services(name: str) -> None:
    accounts = {m["metadata"]["name"]: m for m in of_kind(release(name), "ServiceAccount")}
    bindings = list(of_kind(release(name), "RoleBinding"))
    with_rights = {subject["name"] for binding in bindings for subject in binding["subjects"]}
    for owner, template in pod_templates(release(name)).items():
        spec = template["spec"]
        assert accounts[spec["serviceAccountName"]]["automountServiceAccountToken"] is False
        calls_others = re.fullmatch("auricle-(gateway|upkeep|worker-.*)", owner) is not None
        watches = calls_others and example(name).get("discovery", {}).get("mode") == "endpointslices"
        assert spec["automountServiceAccountToken"] is (spec["serviceAccountName"] in with_rights) is watches
        # Service links would set AURICLE_GATEWAY_PORT and the like to tcp://...
        assert spec["enableServiceLinks"] is False
    for role in of_kind(release(name), "Role"):
        wanted = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}
        assert role["rules"] == [wanted]
    assert not list(of_kind(release(name), "ClusterRole", "ClusterRoleBinding"))


@in_every_example
def test_every_container_asks_for_processors_and_memory_and_is_limited(name: str) -> None:
    for template in pod_templates(release(name)).values():
        for container in all_containers(template):
            resources = container["resources"]
            assert quantity(resources["requests"]["cpu"]) > 0
            assert quantity(resources["requests"]["memory"]) <= quantity(resources["limits"]["memory"])
            gpus = [part.get("nvidia.com/gpu") for part in resources.values()]
            assert gpus[0] == gpus[1]


@in_every_example
def test_every_volume_is_there_and_every_mount_has_one(name: str) -> None:
    claims = {m["metadata"]["name"] for m in of_kind(release(name), "PersistentVolumeClaim")}
    for owner, template in pod_templates(release(name)).items():
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
        mounted = {m["name"] for container in all_containers(template) for m in container["volumeMounts"]}
        assert mounted - {"data"} == volumes.keys(), owner
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims


@in_every_example
def test_selectors_select_the_pods_that_they_name(name: str) -> None:
    templates = pod_templates(release(name))
    for manifest in of_kind(release(name), "Deployment", "StatefulSet", "PodDisruptionBudget"):
        template = templates[manifest["metadata"]["name"]]
        assert selects(manifest["spec"]["selector"]["matchLabels"], template)
    for service in of_kind(release(name), "Service"):
        chosen = [owner for owner, template in templates.items() if selects(service["spec"]["selector"], template)]
        assert chosen == [service["metadata"]["name"]]
        [container] = templates[chosen[0]]["spec"]["containers"]
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        assert targets <= {port["name"] for port in container["ports"]}
    for template in templates.values():
        for constraint in template["spec"].get("topologySpreadConstraints", []):
            assert selects(constraint["labelSelector"]["matchLabels"], template)


@in_every_example
def test_ports_are_those_of_the_settings(name: str) -> None:
    for service, port in SERVERS.items():
        manifest = named(release(name), "Service", f"auricle-{service}")
        [container] = pod_templates(release(name))[f"auricle-{service}"]["spec"]["containers"]
        numbers = {p["name"]: p["containerPort"] for p in container["ports"]}
        assert [p["port"] for p in manifest["spec"]["ports"]] == [port] == [numbers["grpc"]]
        assert numbers["metrics"] == getattr(ports, f"{service.upper()}_METRICS_PORT")
        told = {name: value for name, value in variables(container).items() if name.endswith("_PORT")}
        assert {str(value) for value in told.values()} == {str(number) for number in numbers.values()}


@in_every_example
def test_callers_see_every_pod_of_a_service(name: str) -> None:
    for service in SERVERS.keys() - {"gateway"}:
        assert named(release(name), "Service", f"auricle-{service}")["spec"]["clusterIP"] == "None"


@in_every_example
def test_every_variable_is_a_setting_that_its_service_takes(name: str) -> None:
    for owner, template in pod_templates(release(name)).items():
        for container in all_containers(template):
            given = variables(container)
            for variable in given.keys() - OTHER_VARIABLES:
                prefix, field = re.fullmatch(r"AURICLE_([A-Z]+)_(\w+)", variable).groups()  # type: ignore[union-attr]
                assert field.lower() in SETTINGS[prefix].model_fields, (owner, variable)
                assert prefix.lower() in container["image"], (owner, variable)


@in_every_example
def test_the_services_settings_accept_what_they_are_given(name: str) -> None:
    """Each value alone, as the key file, whose presence is checked too, is not here."""
    for template in pod_templates(release(name)).values():
        for variable, value in variables(template["spec"]["containers"][0]).items():
            if variable in OTHER_VARIABLES:
                continue
            prefix, field = variable.removeprefix("AURICLE_").split("_", 1)
            parse_setting(SETTINGS[prefix], field.lower(), value or "")


def parse_setting(settings: type[BaseModel], name: str, text: str) -> Any:
    """A setting from its variable's text; raises ValidationError."""
    field = settings.model_fields[name]
    adapter: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())
    if text.startswith(("[", "{")):
        return adapter.validate_json(text)
    return adapter.validate_strings(text)


def test_a_wrong_value_of_a_setting_would_be_seen() -> None:
    assert parse_setting(SETTINGS["GATEWAY"], "port", "8400") == 8400
    with pytest.raises(ValidationError):
        parse_setting(SETTINGS["GATEWAY"], "port", "tcp://10.0.0.1:8400")


@in_every_example
def test_services_are_pointed_at_each_other(name: str) -> None:
    services = {m["metadata"]["name"]: m for m in of_kind(release(name), "Service")}
    for template in pod_templates(release(name)).values():
        for variable, value in variables(template["spec"]["containers"][0]).items():
            if variable.endswith("_ADDRESS"):
                check_target(str(value))
                if match := re.fullmatch(r"dns:///([a-z-]+):(\d+)", str(value)):
                    assert [p["port"] for p in services[match[1]]["spec"]["ports"]] == [int(match[2])]
                else:
                    match = re.fullmatch(rf"k8s:///{NAMESPACE}/([a-z-]+):grpc", str(value))
                    assert match
                    assert [p["name"] for p in services[match[1]]["spec"]["ports"]] == ["grpc"]
            if variable.endswith("_REDIS_URL"):
                assert re.fullmatch(r"redis://(:\$\(REDIS_PASSWORD\)@)?auricle-redis:6379/0", str(value))


@in_every_example
def test_gateway_and_workers_share_one_store(name: str) -> None:
    users = [t for owner, t in pod_templates(release(name)).items() if re.search("gateway|worker|upkeep", owner)]
    urls = {
        value
        for template in users
        for variable, value in variables(template["spec"]["containers"][0]).items()
        if variable.endswith("STORE_URL")
    }
    assert len(users) == 5
    assert len(urls) == 1
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for template in users
        for volume in template["spec"]["volumes"]
        if volume["name"] == "store"
    }
    assert claims == (set() if urls == {"s3://auricle"} else {"auricle-store"})


@in_every_example
def test_every_service_is_probed_and_drains_longer_than_its_longest_work(name: str) -> None:
    for owner, template in pod_templates(release(name)).items():
        if owner.startswith("auricle-model-"):
            continue
        spec = template["spec"]
        [container] = spec["containers"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe].keys() & {"grpc", "httpGet", "exec", "tcpSocket"}
        if owner == "auricle-redis":
            continue
        sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        given = variables(container)
        drain = next((float(v or 0) for k, v in given.items() if k.endswith("_DRAIN_SECONDS")), longest_unit(owner))
        assert spec["terminationGracePeriodSeconds"] > sleep + drain


def longest_unit(owner: str) -> float:
    """Seconds that a worker's longest unit may take."""
    fields = WorkerSettings.model_fields
    if owner.endswith("-upkeep"):
        return 0
    kind = "prepare_timeout_seconds" if owner.endswith("-prepare") else "unit_timeout_seconds"
    return float(fields[kind].default)


def test_answers_are_drained_for_as_long_as_they_may_take() -> None:
    for service in ("gateway", "decoder"):
        [container] = pod_templates(release("many-gpus"))[f"auricle-{service}"]["spec"]["containers"]
        longest = SETTINGS[service.upper()].model_fields["default_deadline_seconds"].default
        assert float(variables(container)[f"AURICLE_{service.upper()}_DRAIN_SECONDS"] or 0) >= longest


def test_probes_ask_grpc_health_and_with_tls_by_our_own_program() -> None:
    plain = pod_templates(release("one-gpu"))["auricle-decoder"]["spec"]["containers"][0]
    assert plain["readinessProbe"]["grpc"] == {"port": ports.DECODER_PORT}
    secure = pod_templates(release("many-gpus"))["auricle-decoder"]["spec"]["containers"][0]
    command = secure["readinessProbe"]["exec"]["command"]
    assert command[:4] == ["python", "-m", "services.common.probe", f"127.0.0.1:{ports.DECODER_PORT}"]
    assert (
        command[command.index("--tls-name") + 1]
        in named(release("many-gpus"), "Certificate", "auricle-decoder")["spec"]["dnsNames"]
    )


@in_every_example
def test_the_model_is_waited_for_and_found_where_the_job_puts_it(name: str) -> None:
    templates = pod_templates(release(name))
    job = next(m for m in of_kind(release(name), "Job"))["spec"]["template"]["spec"]["containers"][0]
    action, model, volume = job["args"]
    assert action == "fill"
    for owner in ("auricle-encoder", "auricle-decoder"):
        [wait] = templates[owner]["spec"]["initContainers"]
        assert wait["args"][:3] == ["wait", model, volume]
        assert wait["image"] == job["image"]
    given = variables(templates["auricle-decoder"]["spec"]["containers"][0])
    assert given["AURICLE_DECODER_CHECKPOINT"] == str(folder(Path(volume), model) / "checkpoint")
    encoder = variables(templates["auricle-encoder"]["spec"]["containers"][0])
    assert (encoder["AURICLE_ENCODER_VOLUME"], encoder["AURICLE_ENCODER_MODEL"]) == (volume, model)


def test_another_model_is_another_job_beside_the_old_ones_files() -> None:
    other = manifests(merged(example("laptop"), {"model": {"name": "house/other"}}))
    names = {next(m["metadata"]["name"] for m in of_kind(objects, "Job")) for objects in (release("laptop"), other)}
    assert len(names) == 2


@in_every_example
def test_exactly_one_pod_keeps_the_clock_and_every_queue_has_workers(name: str) -> None:
    commands = {
        owner: template["spec"]["containers"][0].get("args", [])
        for owner, template in pod_templates(release(name)).items()
    }
    start = ["python", "-m", "services.jobs"]
    workers = {owner: parse(command[3:]) for owner, command in commands.items() if command[:3] == start}
    assert [owner for owner, arguments in workers.items() if arguments.beat] == ["auricle-upkeep"]
    assert sorted(arguments.queues for arguments in workers.values()) == [
        ["decode"],
        ["encode"],
        ["prepare"],
        ["upkeep"],
    ]
    upkeep = named(release(name), "Deployment", "auricle-upkeep")["spec"]
    assert (upkeep["replicas"], upkeep["strategy"]) == (1, {"type": "Recreate"})


@in_every_example
def test_redis_keeps_records_and_drops_none(name: str) -> None:
    [container] = pod_templates(release(name))["auricle-redis"]["spec"]["containers"]
    arguments = container["args"]
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    held = quantity(options["--maxmemory"])
    assert SETTINGS["GATEWAY"].model_fields["cache_max_bytes"].default < held
    assert held < quantity(container["resources"]["limits"]["memory"])


@in_every_example
def test_preprocess_has_the_memory_for_all_its_children(name: str) -> None:
    [container] = pod_templates(release(name))["auricle-preprocess"]["spec"]["containers"]
    concurrent = int(variables(container)["AURICLE_PREPROCESS_MAX_CONCURRENT"] or 0)
    child = PreprocessSettings.model_fields["child_memory_bytes"].default + 64 * 2**20
    assert quantity(container["resources"]["limits"]["memory"]) > concurrent * child + 256 * 2**20


def test_whole_numbers_stay_whole_and_lists_are_json() -> None:
    values = merged(
        example("laptop"),
        {
            "gateway": {"settings": {"upload_quota_bytes": 10737418240, "cache_lookup_timeout_seconds": 0.25}},
            "encoder": {"settings": {"served_versions": [1, 2]}},
        },
    )
    templates = pod_templates(manifests(values))
    gateway = variables(templates["auricle-gateway"]["spec"]["containers"][0])
    assert gateway["AURICLE_GATEWAY_UPLOAD_QUOTA_BYTES"] == "10737418240"
    assert gateway["AURICLE_GATEWAY_CACHE_LOOKUP_TIMEOUT_SECONDS"] == "0.25"
    encoder = variables(templates["auricle-encoder"]["spec"]["containers"][0])
    assert encoder["AURICLE_ENCODER_SERVED_VERSIONS"] == "[1,2]"


def test_ingress_speaks_grpc_with_tls() -> None:
    ingress = named(release("many-gpus"), "Ingress", "auricle-gateway")
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/backend-protocol"] == "GRPCS"
    assert ingress["spec"]["tls"][0]["hosts"] == ["auricle.example.com"]
    backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    ports_of = named(release("many-gpus"), "Service", backend["name"])["spec"]["ports"]
    assert backend["port"]["name"] in {port["name"] for port in ports_of}


def test_with_tls_every_caller_trusts_and_every_server_shows_a_certificate() -> None:
    certificates = {m["spec"]["secretName"] for m in of_kind(release("many-gpus"), "Certificate")}
    for owner, template in pod_templates(release("many-gpus")).items():
        given = variables(template["spec"]["containers"][0])
        if any(name.endswith("_ADDRESS") for name in given):
            assert [v for k, v in given.items() if k.endswith("SERVICES_CA")] == ["/tls/ca.crt"]
        if owner.removeprefix("auricle-") in SERVERS:
            assert any(k.endswith("_TLS_KEY") for k in given)
        secrets = {v["secret"]["secretName"] for v in template["spec"].get("volumes", []) if v["name"] == "tls"}
        assert secrets <= certificates


def test_with_mutual_tls_services_ask_and_callers_show_but_the_gateway_asks_nobody() -> None:
    for owner, template in pod_templates(release("many-gpus")).items():
        container = template["spec"]["containers"][0]
        given = {k: v for k, v in variables(container).items() if k.endswith(("_CERT", "_KEY", "_CA"))}
        told = {name.split("_", 2)[2]: value for name, value in given.items()}
        calls = any(name.endswith("_ADDRESS") for name in variables(container))
        assert (told.get("SERVICES_CERT"), told.get("SERVICES_KEY")) == (
            ("/tls/tls.crt", "/tls/tls.key") if calls else (None, None)
        )
        asks = owner.removeprefix("auricle-") in SERVERS.keys() - {"gateway"}
        assert told.get("TLS_CLIENT_CA") == ("/tls/ca.crt" if asks else None)
        probe = container.get("readinessProbe", {}).get("exec", {}).get("command", [])
        assert ("--tls-cert" in probe) is (asks and bool(probe)), owner
    for certificate in of_kind(release("many-gpus"), "Certificate"):
        if not certificate["spec"].get("isCA"):
            assert {"server auth", "client auth"} <= set(certificate["spec"]["usages"])
    one_way = manifests(merged(example("many-gpus"), {"tls": {"mutual": False}}))
    names = {
        name for template in pod_templates(one_way).values() for name in variables(template["spec"]["containers"][0])
    }
    assert not [name for name in names if name.endswith(("SERVICES_CERT", "TLS_CLIENT_CA"))]


def test_redis_and_model_can_be_elsewhere() -> None:
    values = merged(
        example("many-gpus"),
        {
            "redis": {
                "internal": {"enabled": False},
                "external": {"host": "redis.example.com", "port": 6380, "database": 2, "tls": True},
            },
            "model": {"job": {"enabled": False}, "volume": {"existingClaim": "ours"}},
        },
    )
    objects = manifests(values)
    assert not list(of_kind(objects, "StatefulSet", "Job"))
    given = variables(pod_templates(objects)["auricle-gateway"]["spec"]["containers"][0])
    assert given["AURICLE_GATEWAY_REDIS_URL"] == "rediss://:$(REDIS_PASSWORD)@redis.example.com:6380/2"
    volumes = pod_templates(objects)["auricle-decoder"]["spec"]["volumes"]
    claims = [v["persistentVolumeClaim"]["claimName"] for v in volumes if v["name"] == "model"]
    assert claims == ["ours"]


def test_the_notes_name_the_next_command() -> None:
    notes = next(text for name, text in render(example("laptop")).items() if name.endswith("NOTES.txt"))
    assert "kubectl --namespace speech rollout status deployment/auricle-gateway" in notes
    assert "kubectl --namespace speech port-forward service/auricle-gateway 8400:8400" in notes


def test_every_key_of_the_values_is_explained() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        key = re.match(r"(?: {2})+([A-Za-z]+): \S", line)
        if key and key[1] not in ("requests", "limits"):
            assert lines[number - 1].strip().startswith("#"), f"values.yaml:{number + 1}: {line}"


def test_values_are_yaml_without_a_key_twice() -> None:
    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, Any]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"{node.start_mark}: a key twice"
        return loader.construct_mapping(node, deep=True)

    Strict.add_constructor("tag:yaml.org,2002:map", mapping)
    for path in CHART.glob("values*.yaml"):
        yaml.load(path.read_text(), Strict)
