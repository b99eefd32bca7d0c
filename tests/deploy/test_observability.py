"""Every metric that somebody looks at, is woken by or scales on is exported; alerts fire when they should."""

import json
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.deploy.chart import CHART, ROOT, named, of_kind, release
from tests.deploy.metric_names import exported, named_in

pytestmark = pytest.mark.deploy

OBSERVABILITY = ROOT / "deploy" / "observability"
DASHBOARDS = sorted((OBSERVABILITY / "dashboards").glob("*.json"))
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((OBSERVABILITY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
)


def test_every_metric_of_an_alert_is_exported() -> None:
    for alert in ALERTS:
        assert named_in(alert["expr"]) <= exported(), alert["alert"]
        assert named_in(alert["expr"]) or "up{" in alert["expr"]


def test_every_metric_of_a_scaler_is_exported() -> None:
    signals = yaml.safe_load((CHART / "files" / "signals.yaml").read_text())
    for queries in signals.values():
        for query in queries.values():
            assert named_in(query)
            assert named_in(query) <= exported()
    for scaled in of_kind(release("many-gpus"), "ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            assert named_in(trigger["metadata"].get("query", "")) <= exported()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_metric_of_a_dashboard_is_exported(path: Any) -> None:
    for panel in json.loads(path.read_text())["panels"]:
        for target in panel["targets"]:
            assert named_in(target["expr"])
            assert named_in(target["expr"]) <= exported(), panel["title"]


def test_every_metric_of_the_services_is_on_a_dashboard() -> None:
    shown = set().union(*(named_in(path.read_text()) for path in DASHBOARDS))
    endings = re.compile("_(bucket|sum|count)$")
    families = {endings.sub("", name) for name in exported() if name.startswith("auricle_")}
    assert families - {endings.sub("", name) for name in shown} == set()


def test_dashboards_are_as_their_program_writes_them() -> None:
    code = "import json, make_dashboards as m;print(json.dumps({u: m.dashboard(u) for u in m.DASHBOARDS}))"
    written = json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=OBSERVABILITY, text=True))
    assert {path.stem: json.loads(path.read_text()) for path in DASHBOARDS} == written


def test_every_alert_tells_how_bad_it_is_and_has_a_section_in_the_runbook() -> None:
    headings = re.findall(r"^#+ (Auricle\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(alert["alert"] for alert in ALERTS)
    for alert in ALERTS:
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert alert["annotations"]["runbook"] == f"docs/operations.md#{alert['alert'].lower()}"


def test_every_alert_is_tested() -> None:
    tests = yaml.safe_load((OBSERVABILITY / "alerts_test.yaml").read_text())["tests"]
    fired = {t["alertname"] for test in tests for t in test.get("alert_rule_test", []) if t["exp_alerts"]}
    assert fired == {alert["alert"] for alert in ALERTS}


@promtool
def test_promtool_takes_the_rules_and_they_fire_as_they_should() -> None:
    for action, file in (("check", "alerts.yaml"), ("test", "alerts_test.yaml")):
        done = subprocess.run(["promtool", action, "rules", file], cwd=OBSERVABILITY, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_promtool_takes_every_query_of_scalers_and_dashboards() -> None:
    queries = [
        t["metadata"]["query"]
        for s in of_kind(release("many-gpus"), "ScaledObject")
        for t in s["spec"]["triggers"]
        if t["type"] == "prometheus"
    ]
    for path in DASHBOARDS:
        queries += [
            t["expr"].replace("$__rate_interval", "5m")
            for p in json.loads(path.read_text())["panels"]
            for t in p["targets"]
        ]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    text = yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]})
    done = subprocess.run(["promtool", "check", "rules", "/dev/stdin"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_carries_the_alerts_and_the_dashboards() -> None:
    rule = named(release("many-gpus"), "PrometheusRule", "auricle-alerts")
    assert rule["spec"] == yaml.safe_load((OBSERVABILITY / "alerts.yaml").read_text())
    dashboards = named(release("many-gpus"), "ConfigMap", "auricle-dashboards")
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {name: json.loads(text) for name, text in dashboards["data"].items()} == {
        path.name: json.loads(path.read_text()) for path in DASHBOARDS
    }


def test_the_collectors_pipelines_are_made_of_parts_that_it_has() -> None:
    collector = yaml.safe_load((OBSERVABILITY / "otel-collector.yaml").read_text())
    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert pipeline[kind]
            assert set(pipeline[kind]) <= collector[kind].keys()
        # It refuses before it remembers.
        assert pipeline["processors"][0] == "memory_limiter"
