"""The whole platform in simulated time, its size and its plan."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from services.planning import report
from services.planning.chart import SERVICES, read_values, rules_of
from services.planning.errors import PlanningError
from services.planning.load import Request, requests_between
from services.planning.plan import FIXED, SCALED, make_plan
from services.planning.scenario import Variant
from services.planning.simulation import Setup, simulate
from services.planning.sizing import Sizing
from tests.unit.planning.scenarios import PROFILE, SLOW, scenario

pytestmark = pytest.mark.unit

RULES = rules_of(read_values([]))
ONES = dict.fromkeys(SERVICES, 1)


def test_a_request_alone_takes_the_sum_of_its_parts() -> None:
    request = Request(0.0, 5.0, 11)
    simulate(Setup(RULES, PROFILE, ONES), [request], (0, 0, 10))
    path = 0.010 + (0.020 + 0.005) + (0.010 + 0.010 + 0.005) + 0.005
    # The prompt is a step of 20 ms; ten more tokens follow, with one sequence that decodes.
    assert request.first_at == pytest.approx(path + 0.020)
    assert request.end_at == pytest.approx(path + 0.020 + 10 * 0.021)
    cached = Request(0.0, 5.0, 11, cached=True)
    simulate(Setup(RULES, PROFILE, ONES), [cached], (0, 0, 10))
    assert (request.end_at or 0) - (cached.end_at or 0) == pytest.approx(0.025)


def test_a_platform_that_is_full_refuses_and_never_keeps_anybody() -> None:
    requests = [Request(0.0, 5.0, 50) for _ in range(400)]
    outcome = simulate(Setup(RULES, PROFILE, ONES), requests, (0, 0, 1))
    refused = [request for request in requests if request.refused_by]
    assert {request.refused_by for request in refused} == {"gateway"}
    assert len(refused) == 400 - RULES.limits.chats
    assert all((request.end_at is None) == bool(request.refused_by) for request in outcome.requests)


def test_workers_have_no_more_units_in_hand_than_they_may() -> None:
    requests = [Request(0.0, 5.0, 11, bulk=True) for _ in range(3 * RULES.limits.units)]
    simulate(Setup(RULES, PROFILE, ONES), requests, (0, 0, 1))
    ends = sorted(request.end_at or 0.0 for request in requests)
    assert ends[RULES.limits.units - 1] < ends[RULES.limits.units] - 0.1


def test_decoders_come_a_start_time_after_the_load_and_go_when_it_is_over() -> None:
    busy = scenario(arrivals={"per_second": 1.0})
    requests = requests_between(busy, 0, 300)
    setup = Setup(RULES, SLOW, {name: RULES.bounds[name].least for name in SERVICES}, scaled=True)
    outcome = simulate(setup, requests, (0, 0, 1800))
    history = outcome.history["decoder"]
    most = max(count for _, count in history)
    assert most > 1
    assert history[1][0] <= 60
    goes = [at for (_, before), (at, count) in pairwise(history) if count < before]
    assert goes[0] >= history[1][0] + 300
    assert min(later - sooner for sooner, later in pairwise(goes)) >= 60
    assert history[-1][1] == 1
    assert outcome.replica_hours["decoder"] < most * 1800 / 3600


def test_the_smallest_size_meets_the_objective_and_one_less_does_not() -> None:
    load = scenario(arrivals={"per_second": 0.6}, objective={"p95_seconds": 150.0}, hours=0.2)
    sizing = Sizing(load, SLOW, RULES)
    size = sizing.smallest()
    assert size.peak.meets
    for name in ("encoder", "decoder"):
        if size.replicas[name] > 1:
            assert not sizing._fares({**size.replicas, name: size.replicas[name] - 1}).meets
    assert size.replicas["decoder"] > 1


def test_an_objective_that_nothing_meets_is_said_with_what_would_be_reached() -> None:
    with pytest.raises(PlanningError, match=r"no number of replicas .* 95th percentile is \d"):
        Sizing(scenario(objective={"p95_seconds": 0.1}, hours=0.1), PROFILE, RULES).smallest()


def test_a_plan_compares_rules_and_is_told_as_table_json_and_picture(tmp_path: Path) -> None:
    lasting = Variant(name="never in", values={"scaling": {"scaleInAfterSeconds": 3600}})
    load = scenario(arrivals={"by_hour": [0.05, 0.5]}, objective={"p95_seconds": 200.0}, hours=1.0, variants=(lasting,))
    plan = make_plan(load, SLOW)
    by_name = {course.name: course.summary for course in plan.courses}
    assert list(by_name) == [FIXED, SCALED, "never in"]
    assert by_name["never in"].replica_hours["decoder"] > by_name[SCALED].replica_hours["decoder"]
    fixed = by_name[FIXED]
    hours = fixed.replica_hours
    cpu = hours["gateway"] + hours["preprocess"] + hours["worker"]
    assert fixed.cost == pytest.approx(hours["encoder"] + 2 * hours["decoder"] + 0.1 * cpu)
    assert hours["decoder"] == pytest.approx(plan.size.replicas["decoder"])
    console = Console(width=150, record=True)
    console.print(report.table(plan))
    assert "never in" in console.export_text()
    report.write_json(plan, tmp_path / "plan.json")
    assert json.loads((tmp_path / "plan.json").read_text())["courses"][0]["p95_seconds"] > 0
    report.write_plot(plan, tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
