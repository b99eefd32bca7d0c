"""The command line against a served gateway: what it asks, prints and ends with."""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from typer.testing import CliRunner

import auricle
from auricle.cli._app import build_app
from auricle.v1 import generation_pb2
from tests.integration.sdk_assistant import Assistant, serving

pytestmark = pytest.mark.integration


@pytest.fixture
def assistant() -> Assistant:
    return Assistant()


@pytest.fixture
def address(assistant: Assistant) -> Iterator[str]:
    with serving(assistant) as address:
        yield address


@pytest.fixture(autouse=True)
def _environment(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURICLE_ADDRESS", address)
    for name in ("AURICLE_API_KEY", "AURICLE_TLS_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def clip(tmp_path: Path) -> str:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"RIFF")
    return str(path)


def run(*arguments: str, stdin: bytes = b"") -> Any:
    return CliRunner().invoke(build_app(plugins=[]), arguments, input=stdin)


def test_a_recording_alone_is_voice_chat(assistant: Assistant, clip: str) -> None:
    result = run("ask", clip)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello, wörld.\n", "")
    assert assistant.methods == ["StreamChat"]
    (message,) = assistant.requests[0].chat.messages
    assert [part.audio.data for part in message.content] == [b"RIFF"]


def test_several_recordings_a_prompt_and_every_option_arrive(assistant: Assistant, clip: str) -> None:
    options = "--max-output-tokens 9 --temperature 0.5 --top-p 0.9 --top-k 4 --repetition-penalty 1.5 --seed 3"
    options += " --audio-contrast 0.5 --regex [a-z]+"
    command = ["ask", clip, "audios/a1", "-", "--prompt", "Compare.", "--system", "Be brief.", "--no-stream"]
    result = run(*command, *options.split(), "--stop", "a", "--stop", "b", stdin=b"fLaC")
    assert (result.exit_code, result.stdout) == (0, "Hello, wörld.\n")
    request = assistant.requests[0]
    system, user = request.messages
    assert (system.role, system.content[0].text) == (generation_pb2.ROLE_SYSTEM, "Be brief.")
    file, upload, stdin, prompt = user.content
    assert (file.audio.data, upload.audio.name, stdin.audio.data) == (b"RIFF", "audios/a1", b"fLaC")
    assert prompt.text == "Compare."
    assert request.config == generation_pb2.GenerationConfig(
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        repetition_penalty=1.5,
        seed=3,
        stop=["a", "b"],
        audio_contrast=0.5,
        regex="[a-z]+",
    )


def test_a_schema_is_read_from_a_file(assistant: Assistant, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "integer"}')
    assert run("ask", "-p", "How many?", "--json-schema", str(schema)).exit_code == 0
    assert assistant.requests[0].chat.config.json_schema == '{"type": "integer"}'


def test_absent_options_are_left_to_the_server(assistant: Assistant, clip: str) -> None:
    run("ask", clip)
    assert assistant.requests[0].chat.config == generation_pb2.GenerationConfig()


def test_a_question_may_be_text_alone(assistant: Assistant) -> None:
    assert run("ask", "--prompt", "Why?").exit_code == 0
    assert assistant.requests[0].chat.messages[0].content[0].text == "Why?"


def test_usage_is_printed_beside_the_answer(clip: str) -> None:
    result = run("ask", clip, "--show-usage")
    assert result.stdout == "Hello, wörld.\n"
    for fact in ("preprocess", "31.5", "4.2 s heard", "105 audio tokens", "12 output tokens", "240.2", "80.5 ms"):
        assert fact in result.stderr


def test_json_is_one_object_with_the_fields_of_an_answer(clip: str) -> None:
    result = run("ask", clip, "--json")
    answer = json.loads(result.stdout)
    assert (answer["text"], answer["finish_reason"], answer["model"]) == ("Hello, wörld.", "stop", "auricle-test")
    assert answer["usage"]["timings"][2] == {"service": "decoder", "wall_ms": 160.5, "compute_ms": 159.5}
    assert answer["heard"][0]["windows"][0]["content_sha256"] == "01" * 32
    assert len(result.stdout.splitlines()) == 1


def test_json_and_stream_exclude_each_other(clip: str) -> None:
    result = run("ask", clip, "--json", "--stream")
    assert result.exit_code == 2
    assert "cannot go with --stream" in result.stderr


def test_what_was_not_heard_and_what_was_cut_is_told(assistant: Assistant, clip: str) -> None:
    assistant.heard_seconds = 3.0
    assistant.finish_reason = generation_pb2.FINISH_REASON_LENGTH
    result = run("ask", clip)
    assert (result.exit_code, result.stdout) == (0, "Hello, wörld.\n")
    assert result.stderr.splitlines() == [
        "warning: only 3.0 s of 4.2 s were heard",
        "warning: the answer was cut at its limit; see --max-output-tokens",
    ]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["ask", "nowhere.wav"], "error: nowhere.wav: No such file or directory"),
        (["ask"], "error: nothing to ask: give a FILE, or --prompt, or both"),
        (["ask", "https://example.com/a.wav"], "audio is not fetched from URLs"),
        (["ask", "-"], "the audio is empty"),
        (["ask", "-p", "x", "--seed", "-1"], "error: seed: "),
        (["ask", "-p", "x", "--top-k", "many"], "Invalid value for '--top-k'"),
        (["upload", "nowhere.wav"], "error: nowhere.wav: No such file or directory"),
        (["upload"], "Missing argument 'FILE'"),
        (["--address", "http://localhost", "status"], "host:port without http://"),
        (["--tls-ca", "nowhere.pem", "status"], "error: nowhere.pem: No such file or directory"),
        (["--timeout", "0", "status"], "Invalid value for '--timeout'"),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_clear_line(assistant: Assistant, arguments: list[str], complaint: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not assistant.calls


def test_a_failed_request_ends_with_1_and_everything_that_is_known(assistant: Assistant, clip: str) -> None:
    status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="the queue\nis full")
    info = error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="auricle.dev")
    bad_request = error_details_pb2.BadRequest()
    bad_request.field_violations.add(field="messages[0]", description="too long")
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    for detail in (info, bad_request, retry):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    for stream in ("--stream", "--no-stream"):
        assistant.errors = deque([status])
        result = run("ask", clip, stream)
        request_id = assistant.calls[-1][1]["x-request-id"]
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == (
            f"error: QUEUE_FULL: the queue is full; messages[0]: too long; try again in 1.5 s (request {request_id})\n"
        )


def test_an_answer_that_breaks_off_keeps_its_error_on_a_line_of_its_own(assistant: Assistant, clip: str) -> None:
    assistant.summary = False
    result = run("ask", clip)
    assert (result.exit_code, result.stdout) == (1, "Hello, wörld.\n")
    assert result.stderr.startswith("error: INTERNAL: the answer broke off")


def test_global_options_win_over_the_environment(address: str, assistant: Assistant) -> None:
    run("--address", address, "--api-key", "mine", "status")
    assert assistant.calls[0][1]["authorization"] == "Bearer mine"
    assistant.hang = True
    result = run("--timeout", "0.2", "status")
    assert result.exit_code == 1
    assert "DEADLINE_EXCEEDED" in result.stderr


def test_status_shows_every_service_and_ends_with_0_when_all_are_ready() -> None:
    result = run("status")
    assert result.exit_code == 0
    assert "auricle-test: ready" in result.stdout
    for service in ("preprocess", "encoder", "decoder"):
        assert f"{service} 1.0" in result.stdout


def test_status_ends_with_1_when_a_service_is_not_ready(assistant: Assistant) -> None:
    assistant.services["encoder"] = False
    result = run("status", "--json")
    assert result.exit_code == 1
    status = json.loads(result.stdout)
    assert [s["service"] for s in status["services"] if not s["ready"]] == ["encoder"]
    assert "not ready" in run("status").stdout


def test_uploads_print_the_name_and_are_deleted_by_it(assistant: Assistant, clip: str) -> None:
    assert run("upload", clip).stdout == "audios/a1\n"
    assert run("upload", "-", stdin=b"fLaC").stdout == "audios/a1\n"
    audio = json.loads(run("upload", clip, "--json").stdout)
    assert (audio["size_bytes"], audio["expire_time"]) == (4, "2030-01-02T03:04:05+00:00")
    assert run("delete", "audios/a1").exit_code == 0
    assert assistant.requests[-1].name == "audios/a1"


@pytest.mark.parametrize("command", [[], ["ask"], ["status"], ["upload"], ["delete"]])
def test_every_help_has_an_example(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"auricle {' '.join(command)}".strip() in result.stdout


def test_the_version_is_printed() -> None:
    assert run("--version").stdout == f"auricle {auricle.__version__}\n"


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = str(Path(auricle.__file__).parents[1])
    command = [sys.executable, "-m", "auricle", *arguments]
    variables = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)


def test_the_command_works_as_a_process_and_says_failures_once(clip: str) -> None:
    result = process("ask", clip, "--prompt", "What is said?")
    assert (result.returncode, result.stdout, result.stderr) == (0, "Hello, wörld.\n", "")
    # The server speaks no TLS, which gRPC itself would log many times.
    result = process("--tls", "--timeout", "1", "status")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "printed"), [(["ask"], "12 output tokens"), (["upload"], "\r"), (["ask", "--hide-usage"], "")]
)
def test_a_terminal_is_shown_more(clip: str, command: list[str], printed: str) -> None:
    terminal, its_end = os.openpty()
    path = str(Path(auricle.__file__).parents[1])
    arguments = [sys.executable, "-m", "auricle", *command, clip]
    variables = {**os.environ, "PYTHONPATH": path, "TERM": "xterm"}
    run = subprocess.run(arguments, env=variables, stdout=subprocess.PIPE, stderr=its_end, timeout=120)
    os.set_blocking(terminal, False)
    os.write(its_end, b"|")
    shown = os.read(terminal, 2**16).decode()
    os.close(its_end)
    os.close(terminal)
    assert run.returncode == 0
    assert b"\x1b" not in run.stdout
    assert printed in shown if printed else shown == "|"


def test_an_installed_plug_in_adds_its_commands_and_a_broken_one_only_a_warning(tmp_path: Path, clip: str) -> None:
    metadata = tmp_path / "plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[auricle.commands]\nbroken = no_such_module:register\ngood = plugin_commands:register\n"
    )
    (tmp_path / "plugin_commands.py").write_text(
        "def register(app):\n    @app.command()\n    def hello(): print('hello from a plug-in')\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(auricle.__file__).parents[1])])
    hello = process("hello", PYTHONPATH=path)
    assert hello.stdout == "hello from a plug-in\n"
    ask = process("ask", clip, PYTHONPATH=path)
    assert (ask.returncode, ask.stdout) == (0, "Hello, wörld.\n")
    assert ask.stderr.splitlines() == [
        "warning: the commands of plug-in 'broken' (no_such_module:register) are missing:"
        " ModuleNotFoundError: No module named 'no_such_module'"
    ]
