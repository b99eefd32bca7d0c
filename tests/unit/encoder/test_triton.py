"""Finding Triton's parts on this machine, and the command and environment it is run with."""

import ctypes.util
import importlib.util
import os
import re
import socket
import sys
import sysconfig
from pathlib import Path

import pytest

from services.local import triton
from services.local.triton import TritonServer
from services.local.triton_parts import TritonMissing, find_libpython, find_triton

pytestmark = pytest.mark.unit

PORT = 65432


def make_server(tmp_path: Path, **options: object) -> TritonServer:
    paths = {"log_path": tmp_path / "logs" / "triton.log", "cache_dir": tmp_path / "cache"}
    ports = {"grpc_port": PORT, "http_port": PORT + 1, "metrics_port": PORT + 2}
    return TritonServer(tmp_path / "repository", **{**ports, **paths, **options})  # type: ignore[arg-type]


def test_the_python_backend_is_laid_out_with_this_pythons_stub(tmp_path: Path) -> None:
    binary = find_triton(tmp_path)
    python = binary.backends / "python"
    assert os.access(binary.server, os.X_OK)
    assert {p.name for p in python.iterdir()} == {
        "libtriton_python.so",
        "triton_python_backend_utils.py",
        "triton_python_backend_stub",
    }
    stub = (python / "triton_python_backend_stub").resolve()
    assert stub.parent.name == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert find_triton(tmp_path) == binary


def test_a_missing_wheel_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TritonMissing, match=re.escape("pip install --no-deps nvidia-pytriton==0.7.0")):
        find_triton(tmp_path)


def test_a_python_without_its_shared_library_is_named_with_where_it_was_sought(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)
    with pytest.raises(TritonMissing, match=rf"libpython3\.11\.so\.1\.0.*{tmp_path}.*--enable-shared"):
        find_libpython()


def test_the_own_pythons_library_is_taken_before_the_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"lib{name}.so.1.0")
    assert find_libpython() is None
    (tmp_path / "libpython3.11.so.1.0").touch()
    assert find_libpython() == tmp_path


def test_the_server_listens_on_loopback_and_keeps_its_dangerous_interfaces_shut(tmp_path: Path) -> None:
    server = make_server(tmp_path)
    command = server.command()
    for option in ("grpc-address", "http-address", "metrics-address"):
        assert f"--{option}=127.0.0.1" in command
    [restricted] = [argument for argument in command if argument.startswith("--grpc-restricted-protocol=")]
    assert "shared-memory" in restricted
    assert "model-repository" in restricted
    # The key is new each time: nobody needs it.
    assert restricted not in server.command()


def test_the_environment_leads_the_stub_to_our_code_and_our_python(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    environment = make_server(tmp_path, threads=3).environment()
    root = str(Path(__file__).parents[3])
    assert environment["PYTHONPATH"].split(os.pathsep) == [root, "/theirs"]
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert "nvidia_pytriton.libs" in environment["LD_LIBRARY_PATH"].split(os.pathsep)[0]
    assert environment["OMP_NUM_THREADS"] == "3"
    assert "PYTHONHOME" not in environment


def test_shared_memory_of_a_dead_server_on_the_port_is_removed_and_of_a_living_one_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(triton, "SHARED_MEMORY", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        mine, others = tmp_path / f"auricle-triton-{port}-x", tmp_path / f"auricle-triton-{port}0-x"
        mine.touch()
        others.touch()
        make_server(tmp_path, grpc_port=port)
        assert mine.exists()
    make_server(tmp_path, grpc_port=port)
    assert not mine.exists()
    assert others.exists()
