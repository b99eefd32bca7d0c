"""`auricle jobs` against a real gateway and worker."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from auricle.cli._app import build_app
from tests.job_platform import JobPlatform
from tests.platform_fakes import mark, recording

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _environment(job_platform: JobPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURICLE_ADDRESS", f"127.0.0.1:{job_platform.config.ports.gateway}")
    monkeypatch.setenv("AURICLE_API_KEY", job_platform.keys["ben"])
    monkeypatch.delenv("AURICLE_TLS_CA", raising=False)
    monkeypatch.setenv("COLUMNS", "160")


def run(*arguments: str, stdin: bytes = b"") -> Any:
    return CliRunner().invoke(build_app(plugins=[]), ["jobs", *arguments], input=stdin)


@pytest.fixture
def lecture(tmp_path: Path) -> str:
    path = tmp_path / "lecture.wav"
    path.write_bytes(recording("lecture", 30, 12.5))
    return str(path)


TEXT = (
    f"user: <{mark('lecture', 0)}x750> Transcribe the speech. user: <{mark('lecture', 1)}x312> Transcribe the speech.\n"
)


def submit(*arguments: str) -> str:
    return str(run("submit", *arguments).stdout.strip())


def test_submit_prints_a_name_that_leads_to_the_result(lecture: str, tmp_path: Path) -> None:
    name = submit(lecture, "--label", "course=7", "--priority", "interactive")
    assert name.startswith("analysisJobs/")
    watched = run("watch", name)
    assert watched.exit_code == 0
    assert f"0:00:30.0 - 0:00:42.5  user: <{mark('lecture', 1)}x312>" in watched.stdout
    assert run("result", name.removeprefix("analysisJobs/")).stdout == TEXT
    out = tmp_path / "lecture.srt"
    assert run("result", name, "--format", "srt", "--out", str(out)).stdout == ""
    assert out.read_text().startswith("1\n00:00:00,000 --> 00:00:30,000\nuser: ")
    job = json.loads(run("get", name, "--json").stdout)
    assert (job["state"], job["labels"], job["priority"]) == ("succeeded", {"course": "7"}, "interactive")
    assert "2 of 2 windows" in run("get", name).stdout


def test_submit_waits_for_several_recordings(lecture: str) -> None:
    done = run("submit", lecture, "-", "--wait", stdin=recording("lecture", 30, 12.5))
    assert (done.exit_code, done.stdout) == (0, TEXT * 2)


def test_a_timeline_is_printed_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "mixed.wav"
    path.write_bytes(recording("mixed", 30, 10, 5, spoken=[0], silent=[1, 2]))
    done = run("submit", str(path), "--task", "segment", "--wait")
    assert done.stdout == "0:00:00.0 - 0:00:30.0  [speech]\n0:00:30.0 - 0:00:45.0  [silence]\n"


def test_waiting_for_a_job_that_fails_tells_why_and_ends_with_1(tmp_path: Path) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(b"no recording")
    done = run("submit", str(path), "--wait")
    assert done.exit_code == 1
    assert "failed: AUDIO_FORMAT_UNSUPPORTED" in done.stderr


def test_holes_are_told(tmp_path: Path) -> None:
    path = tmp_path / "poison.wav"
    path.write_bytes(recording("cli poison", 10, 20))
    done = run("submit", str(path), "--wait", "-i", f"[refuse {mark('cli poison', 1)}] Describe.")
    assert done.exit_code == 0
    assert "0:00:10.0 to 0:00:30.0 has no result: this window is poison" in done.stderr


def test_list_filters_and_shows_states(lecture: str) -> None:
    name = submit(lecture, "--label", "shown=yes")
    lines = run("list", "--filter", "labels.shown = yes", "--json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == [name]
    assert name in run("list", "--limit", "1").stdout


def test_ask_prints_the_answer_and_the_times_that_support_it(lecture: str) -> None:
    name = submit(lecture)
    run("watch", name)
    answered = run("ask", name, "Is it about rivers?")
    assert f"  0:00:00.0 - 0:00:30.0  user: <{mark('lecture', 0)}x750> Is it about rivers?" in answered.stdout
    assert json.loads(run("ask", name, "Why?", "--json").stdout)["cached_windows"] == 2


def test_a_webhook_that_the_platform_may_not_call_is_refused(lecture: str) -> None:
    refused = run("submit", lecture, "--webhook", "https://example.com/ended")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: ")
    assert "webhook" in refused.stderr


def test_cancel_and_delete(lecture: str) -> None:
    name = submit(lecture, "--task", "analyze", "-i", "[wait 30]")
    assert run("cancel", name).exit_code == 0
    assert json.loads(run("get", name, "--json").stdout)["state"] == "canceled"
    assert run("delete", name).exit_code == 0
    gone = run("get", name)
    assert (gone.exit_code, gone.stderr.startswith("error: JOB_NOT_FOUND")) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [["--task", "sing"], ["--priority", "high"], ["--label", "x"], ["--task", "segment", "-i", "What?"]],
)
def test_wrong_arguments_end_with_2(lecture: str, arguments: list[str]) -> None:
    assert run("submit", lecture, *arguments).exit_code == 2
