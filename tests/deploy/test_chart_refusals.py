"""A mistake in the values is refused when the chart is rendered, in words that say what to do."""

import json
from typing import Any

import pytest
from helm_python import HelmError

from tests.deploy.chart import example, merged, render
from tests.deploy.settings_schema import SCHEMA, definitions

pytestmark = pytest.mark.deploy


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gatway": {}}, "gatway"),
        ({"decoder": {"setings": {}}}, "setings"),
        ({"decoder": {"settings": {"max_runing": 8}}}, "max_runing"),
        ({"decoder": {"settings": {"max_running": 0}}}, "max_running"),
        ({"decoder": {"settings": {"dtype": "int4"}}}, "dtype"),
        ({"decoder": {"settings": {"port": 9000}}}, "port"),
        ({"encoder": {"settings": {"max_batch_size": "16"}}}, "max_batch_size"),
        ({"workers": {"encode": {"settings": {"concurrency": 8}}}}, "settings"),
        ({"gateway": {"replicas": {"min": 0}}}, "min"),
        ({"gateway": {"resources": {"limits": {"memory": "1GB"}}}}, "memory"),
        ({"gateway": {"resources": {"limits": {"memmory": "1Gi"}}}}, "memmory"),
        ({"model": {"name": "../etc"}}, "name"),
        ({"model": {"name": ""}}, "name"),
        ({"store": {"url": "ftp://somewhere"}}, "url"),
        ({"scaling": {"mode": "kedda"}}, "mode"),
        ({"redis": {"external": {"port": 70000}}}, "port"),
    ],
)
def test_a_wrong_value_is_refused_by_the_schema(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(HelmError, match=words):
        render(merged(example("many-gpus"), changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"gateway": {"apiKeys": {"secret": ""}}},
            "gateway.apiKeys.secret is missing.*kubectl --namespace speech create",
        ),
        (
            {"redis": {"password": {"secret": ""}}},
            "redis.password.secret is missing.*kubectl --namespace speech create",
        ),
        ({"redis": {"internal": {"enabled": False}}}, "redis.external.host is missing"),
        ({"ingress": {"host": ""}}, "ingress.host is missing"),
        ({"ingress": {"clusterIssuer": ""}}, "needs TLS"),
        ({"tls": {"enabled": False}}, "tls.mutual needs tls.enabled"),
        ({"scaling": {"prometheusUrl": ""}}, "scaling.prometheusUrl is missing"),
        ({"decoder": {"replicas": {"min": 33}}}, "decoder.replicas.min is more than max"),
    ],
)
def test_what_must_be_chosen_is_asked_for_with_the_way_to_get_it(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(HelmError, match=words):
        render(merged(example("many-gpus"), changes))


def test_the_values_alone_ask_for_their_secrets() -> None:
    with pytest.raises(HelmError, match=r"gateway\.apiKeys\.secret is missing"):
        render({})


def test_the_schema_has_the_services_settings_of_today() -> None:
    schema = json.loads(SCHEMA.read_text())
    assert {name: schema["$defs"][name] for name in definitions()} == definitions(), "run: make helm-schema"


def test_every_part_of_the_schema_refuses_what_it_does_not_know() -> None:
    def check(part: dict[str, Any], path: str) -> None:
        if "properties" in part:
            assert part.get("additionalProperties") is False, path
        for name, child in part.get("properties", {}).items():
            check(child, f"{path}.{name}")

    schema = json.loads(SCHEMA.read_text())
    check(schema, "values")
    for name, definition in schema["$defs"].items():
        check(definition, name)
