"""`auricle plan` as a user types it."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from auricle.cli._app import PLUGIN_GROUP, build_app
from services.planning.profile import write_profile
from tests.unit.planning.scenarios import PROFILE

pytestmark = pytest.mark.unit

COMMAND = EntryPoint("planning", "services.planning.cli:register", PLUGIN_GROUP)
SCENARIO = """
hours = 0.1
arrivals = { per_second = 1 }
clip_seconds = { median = 5 }
answer_tokens = { median = 10 }
objective = { p95_seconds = 3 }
"""


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    Path("load.toml").write_text(SCENARIO)
    write_profile(PROFILE, Path("times.json"))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(build_app([COMMAND]), ["plan", *arguments])


def test_a_scenario_becomes_a_table_json_and_a_picture() -> None:
    result = run(
        "load.toml", "--profile", "times.json", "--json", "plan.json", "--plot", "day.png", "--per-second", "0.2"
    )
    assert result.exit_code == 0, result.output
    assert "as the chart says" in result.stdout
    assert "smallest fixed size: 1 gateway, 1 preprocess, 1 worker, 1 encoder, 1 decoder" in " ".join(
        result.stdout.split()
    )
    assert json.loads(Path("plan.json").read_text())["scenario"]["arrivals"]["per_second"] == 0.2
    assert Path("day.png").stat().st_size > 3000


def test_help_names_both_commands() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "profile" in result.stdout
    assert "scenario.toml" in result.stdout


def test_errors_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("wrong.toml").write_text(SCENARIO + "hour = 3\n")
    cases = [
        (["gone.toml"], 2, "error: gone.toml: No such file or directory"),
        (["wrong.toml"], 2, "error: wrong.toml: hour: Extra inputs are not permitted"),
        (["load.toml", "--per-second", "-1"], 2, "arrivals.per_second: Input should be greater than 0"),
        (["load.toml", "--profile", "gone.json"], 2, "error: gone.json: No such file or directory"),
        (
            ["load.toml", "--profile", "times.json", "--values", "gone.yaml"],
            2,
            "error: gone.yaml: No such file or directory",
        ),
        (["load.toml", "--profile", "times.json", "--p95-seconds", "0.01"], 2, "error: no number of replicas meets"),
        (["load.toml", "--plot", "day.doc"], 2, "error: day.doc: pictures end in .png, .svg, .pdf"),
        (["profile", "out.json", "--target", "127.0.0.1:1"], 1, "error: cannot reach 127.0.0.1:1"),
    ]
    for arguments, code, words in cases:
        result = run(*arguments)
        assert result.exit_code == code, result.output
        assert words in result.stderr
        assert "Traceback" not in result.output


def test_without_the_simulator_the_extra_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name for name in sys.modules if name.split(".")[0] == "simpy" or name.startswith("services.planning.")
    ]:
        if name != "services.planning.cli":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "simpy", None)
    result = run("load.toml", "--profile", "times.json")
    assert result.exit_code == 1
    assert "error: simpy is not installed: pip install 'auricle-platform[plan]'" in result.stderr


def test_the_command_line_loads_no_simulator_before_it_is_asked_for_one() -> None:
    code = f"import sys; sys.argv = ['auricle']; from {COMMAND.module} import register; print('simpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
