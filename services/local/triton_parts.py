"""Where Triton lies on this machine, and what it needs to run.

The wheel nvidia-pytriton carries the server, its Python backend and one stub (the process that runs model.py) per
Python version, but not in the places where the server looks for them.
"""

import ctypes.util
import hashlib
import importlib.util
import secrets
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from services.common.errors import FailedPrecondition

WHEEL = "nvidia-pytriton==0.7.0"
_STUB = "triton_python_backend_stub"


class TritonMissing(FailedPrecondition):
    """Something that Triton needs is not on this machine; the message names it."""

    default_reason = "TRITON_MISSING"


@dataclass(frozen=True)
class TritonBinary:
    """Where the parts of Triton lie.

    Attributes:
        server: the tritonserver program.
        libraries: directories for LD_LIBRARY_PATH.
        backends: directory for --backend-directory, with the Python backend and this Python's stub in it.
    """

    server: Path
    libraries: tuple[Path, ...]
    backends: Path


def find_triton(cache_dir: Path | None = None) -> TritonBinary:
    """Find the installed wheel's server and lay out its Python backend in `cache_dir` (default ~/.cache/auricle).

    Raises:
        TritonMissing: the wheel, its stub for this Python or this Python's shared library is not there.
    """
    spec = importlib.util.find_spec("pytriton")
    site_packages = Path(spec.origin).parents[1] if spec and spec.origin else None
    if site_packages is None or not (site_packages / "pytriton/tritonserver/bin/tritonserver").exists():
        raise TritonMissing(f"Triton is not installed; get its wheel with: pip install --no-deps {WHEEL}")
    home = site_packages / "pytriton" / "tritonserver"
    python_version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = home / "python_backend_stubs" / python_version / _STUB
    if not stub.exists():
        raise TritonMissing(f"the wheel {WHEEL} has no Python backend stub for Python {python_version}")
    libraries = [site_packages / "nvidia_pytriton.libs"]
    if (libpython := find_libpython()) is not None:
        libraries.append(libpython)
    backend_files = [*(home / "backends" / "python").glob("*.*"), stub]
    cache = cache_dir or Path.home() / ".cache" / "auricle"
    return TritonBinary(home / "bin" / "tritonserver", tuple(libraries), _backend_directory(backend_files, cache))


def find_libpython() -> Path | None:
    """Directory of this Python's shared library; None where the system's loader finds the library by itself.

    Raises:
        TritonMissing: it is nowhere.
    """
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    own = [Path(str(sysconfig.get_config_var("LIBDIR"))), Path(sys.base_prefix) / "lib"]
    for directory in own:
        if (directory / name).exists():
            return directory
    if ctypes.util.find_library(name.removeprefix("lib").removesuffix(".so.1.0")):
        return None
    raise TritonMissing(
        f"Triton's Python backend needs {name}, which is neither in {own[0]} nor known to the system's loader; use a "
        f"Python built with --enable-shared, or install the library (Debian: apt-get install libpython3.11)"
    )


def _backend_directory(files: list[Path], cache: Path) -> Path:
    """A backend directory of links in the cache, named by what it links to, so that processes can share it."""
    key = hashlib.sha256("\n".join(map(str, sorted(files))).encode()).hexdigest()[:12]
    backends = cache / f"triton-backends-{key}"
    python = backends / "python"
    python.mkdir(parents=True, exist_ok=True)
    for file in files:
        link = python / file.name
        if link.is_symlink():
            continue
        # Made aside and renamed: another process may lay out the same directory now.
        temporary = python / f".{file.name}.{secrets.token_hex(4)}"
        temporary.symlink_to(file)
        temporary.replace(link)
    return backends
