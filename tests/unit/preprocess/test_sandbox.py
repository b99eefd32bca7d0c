"""The sandboxed half stays small, and its jail holds."""

import json
import os
import signal
import subprocess
import sys

import pytest

from services.preprocess.sandbox import syscall_filter
from tests.unit.preprocess import jail_attempts
from tests.unit.preprocess.jail_attempts import ATTEMPTS, DONE, REFUSED

pytestmark = pytest.mark.unit

ALLOWED = ("use what it has", "spin")
needs_filter = pytest.mark.skipif(not syscall_filter.is_supported(), reason="no system call table for this machine")


def output_of(*arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=60
    ).stdout


@pytest.fixture(scope="module")
def outcomes() -> dict[str, int]:
    found: dict[str, int] = json.loads(output_of("-m", jail_attempts.__name__))
    return found


def test_a_jailed_process_can_use_what_it_has(outcomes: dict[str, int]) -> None:
    assert outcomes["use what it has"] == DONE


@needs_filter
@pytest.mark.parametrize("attempt", [name for name in ATTEMPTS if name not in ALLOWED])
def test_a_jailed_process_cannot(outcomes: dict[str, int], attempt: str) -> None:
    assert outcomes[attempt] == REFUSED


def test_processor_time_ends_with_a_signal_of_its_own(outcomes: dict[str, int]) -> None:
    assert outcomes["spin"] == -signal.SIGXCPU


def test_the_sandbox_imports_neither_grpc_nor_settings_nor_torch() -> None:
    heavy = ("grpc", "pydantic", "torch", "google.protobuf", "asyncio")
    code = f"import sys, services.preprocess.sandbox.zygote; print([m for m in {heavy} if m in sys.modules])"
    assert output_of("-c", code).strip() == "[]"
