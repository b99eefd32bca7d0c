"""Imports run one way: contract <- common <- pipeline <- a service; the model library stands beside."""

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
# For each room, the rooms of services/ that it may import besides itself.
ALLOWED = {
    "common": set(),
    "qwen2_audio": set(),
    "pipeline": {"common"},
    "jobstore": {"common"},
    "gateway": {"common", "pipeline", "jobstore"},
    "jobs": {"common", "pipeline", "jobstore"},
    "preprocess": {"common", "qwen2_audio"},
    "encoder": {"common", "qwen2_audio"},
    "decoder": {"common", "qwen2_audio"},
    "evaluation": {"common", "qwen2_audio"},
    "training": {"common", "qwen2_audio", "evaluation"},
    "kube": {"common", "evaluation"},
    "planning": set(),
    "local": {"common", "qwen2_audio", "encoder"},
}
WITHOUT_TORCH = (
    "common",
    "pipeline",
    "gateway",
    "jobstore",
    "jobs",
    "preprocess",
    "planning",
    "local/platform.py",
    "qwen2_audio/mel.py",
)


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def python_files(folder: Path) -> list[Path]:
    files = [folder] if folder.suffix == ".py" else sorted(folder.rglob("*.py"))
    assert files, f"nothing at {folder}"
    return files


def test_every_room_is_listed() -> None:
    rooms = {p.name for p in (ROOT / "services").iterdir() if (p / "__init__.py").exists()}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_stands_before_it(room: str) -> None:
    wrong = []
    for path in python_files(ROOT / "services" / room):
        for name in imported_modules(path):
            parts = name.split(".")
            if parts[0] == "services" and len(parts) > 1 and parts[1] not in ALLOWED[room] | {room}:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_the_sdk_imports_nothing_of_the_services() -> None:
    for path in python_files(ROOT / "sdk" / "python" / "auricle"):
        assert not [name for name in imported_modules(path) if name.split(".")[0] == "services"], path


@pytest.mark.parametrize("place", WITHOUT_TORCH)
def test_light_rooms_carry_no_torch(place: str) -> None:
    for path in python_files(ROOT / "services" / place):
        heavy = {name for name in imported_modules(path) if name.split(".")[0] in ("torch", "transformers")}
        assert not heavy, path


def test_the_model_library_knows_no_grpc_and_no_environment() -> None:
    for path in python_files(ROOT / "services" / "qwen2_audio"):
        assert "grpc" not in imported_modules(path), path
        assert "os.environ" not in path.read_text(), path
