"""Files that users write, and what they are told when something is wrong in them."""

from pathlib import Path

import pytest

from services.planning.chart import read_values, rules_of
from services.planning.errors import PlanningError
from services.planning.profile import read_profile, write_profile
from services.planning.scenario import read_scenario
from tests.unit.planning.scenarios import PROFILE

pytestmark = pytest.mark.unit

GOOD = """
[arrivals]
per_second = 2.0
[clip_seconds]
median = 5
[answer_tokens]
values = [10, 20]
[objective]
p95_seconds = 3
"""
WRONG = {
    "[arrivals": "Expected ']'",
    GOOD.replace("per_second = 2.0", "per_second = -1"): "arrivals.per_second: Input should be greater than 0",
    GOOD.replace("per_second = 2.0", "per_secnd = 1"): "arrivals.per_secnd: Extra inputs are not permitted",
    GOOD.replace("per_second = 2.0", "by_hour = [1, -2]"): "by_hour has rates of 0 or more",
    GOOD.replace("per_second = 2.0", "per_second = nan"): "arrivals.per_second: Input should be a finite number",
    GOOD.replace("per_second = 2.0", ""): "give either per_second or by_hour",
    GOOD.replace("median = 5", "median = 5\np95 = 4"): "p95 is below the median",
    GOOD.replace("values = [10, 20]", "values = []"): "give either median (and p95) or values",
    GOOD.replace("[objective]\np95_seconds = 3", ""): "objective: Field required",
    "hours = 1e9\n" + GOOD: "hours: Input should be less than or equal to 168",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_scenario_names_the_file_and_the_mistake(text: str, tmp_path: Path) -> None:
    file = tmp_path / "scenario.toml"
    file.write_text(text)
    with pytest.raises(PlanningError) as error:
        read_scenario(file)
    assert str(file) in str(error.value)
    assert WRONG[text] in str(error.value)


def test_a_scenario_is_read_with_changes_laid_over_it_and_its_values_found_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "scenario.toml"
    file.write_text('values = ["mine.yaml"]\n' + GOOD)
    scenario = read_scenario(file, {"objective": {"p95_seconds": 7.0}})
    assert scenario.objective.p95_seconds == 7
    assert scenario.arrivals.per_second == 2
    assert scenario.values == (tmp_path / "mine.yaml",)


def test_a_profile_is_read_as_it_was_written_and_a_wrong_one_refused(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    write_profile(PROFILE, file)
    assert read_profile(file) == PROFILE
    file.write_text(file.read_text().replace("step_ms", "step_seconds"))
    with pytest.raises(PlanningError, match=r"decoder\.step_seconds: Extra inputs"):
        read_profile(file)
    file.write_text("{")
    with pytest.raises(PlanningError, match=r"profile\.json"):
        read_profile(file)


def test_values_of_a_release_lie_over_those_of_the_chart(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "decoder: { replicas: { max: 99 }, settings: { max_running: 5 } }\nscaling: { scaleInAfterSeconds: 7 }"
    )
    rules, usual = rules_of(read_values([file])), rules_of(read_values([]))
    assert (rules.bounds["decoder"].most, rules.bounds["decoder"].least) == (99, usual.bounds["decoder"].least)
    assert rules.limits.running == 5
    assert rules.behavior.in_after_seconds == 7


@pytest.mark.parametrize("text", ["decoder: { replicas: { min: 9, max: 2 } }", "decoder: 3", "[]", "a: b: c"])
def test_wrong_values_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(PlanningError):
        rules_of(read_values([file]))
