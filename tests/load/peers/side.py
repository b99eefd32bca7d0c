"""A side of the benchmark as the benchmark sees it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[3]
VLLM_PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


@dataclass
class Side:
    """A process that decodes.

    Attributes:
        name: "engine", "transformers", "vLLM" or "llama.cpp", and the precision.
        python: of its environment.
        module: in tests.load.peers.
        arguments: of the module.
    """

    name: str
    python: Path
    module: str
    arguments: list[str] = field(default_factory=list)
    start_seconds: float = 0.0

    def start(self, threads: int, log: Path) -> None:
        """Start the process and wait until it is ready.

        Raises:
            RuntimeError: it ended instead; the log says why.
        """
        environment = os.environ | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'sdk' / 'python'}",
            "OMP_NUM_THREADS": str(threads),
            # Whoever waits for its turn must not take the core from whoever has it.
            "OMP_WAIT_POLICY": "PASSIVE",
            "THP_MEM_ALLOC_ENABLE": "1",
        }
        command = [str(self.python), "-m", f"tests.load.peers.{self.module}", "--threads", str(threads)]
        start = time.perf_counter()
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command + self.arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                cwd=ROOT,
            )
        self._log = log
        self._read()
        self.start_seconds = time.perf_counter() - start

    def ask(self, **asked: Any) -> dict[str, Any]:
        """The answer to one operation, and the `cpu_seconds` that all processes of the side took for it."""
        assert self._process.stdin is not None
        before = self._cpu_seconds()
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._read() | {"cpu_seconds": self._cpu_seconds() - before}

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _cpu_seconds(self) -> float:
        whole = psutil.Process(self._process.pid)
        times = [process.cpu_times() for process in (whole, *whole.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            last = "".join(self._log.read_text().splitlines(keepends=True)[-5:])
            raise RuntimeError(f"{self.name} ended; the last lines of {self._log}:\n{last}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def sides_of(
    names: list[str], checkpoint: Path, plain: Path, ggufs: dict[str, Path], vllm_options: Sequence[str] = ()
) -> list[Side]:
    """The sides of those names, as far as their environments are there; who is missing is told.

    Args:
        names: "engine fp32", "transformers fp32", "vllm bf16", "llama.cpp q8_0" and the like.
        checkpoint: in Qwen2-Audio's layout.
        plain: its decoder as a plain Qwen2 checkpoint.
        ggufs: the same as GGUF files, by precision.
        vllm_options: further arguments of vLLM's side.
    """
    made = []
    for name in names:
        kind, precision = name.split()
        if kind == "engine":
            side = Side(name, Path(sys.executable), "engine", ["--checkpoint", str(checkpoint), "--weights", precision])
        elif kind == "transformers":
            side = Side(name, Path(sys.executable), "transformers_generate", ["--plain", str(plain)])
        elif kind == "vllm":
            side = Side(name, VLLM_PYTHON, "vllm_async", ["--model", str(plain), "--dtype", precision, *vllm_options])
        elif kind == "llama.cpp":
            side = Side(name, PEERS_PYTHON, "llama_cpp_batch", ["--gguf", str(ggufs[precision])])
        else:
            raise ValueError(f"no side is called {kind}")
        made.append(side)
    return _there(made)


def whole_sides(checkpoint: Path, plain: Path, vllm_options: Sequence[str] = ()) -> list[Side]:
    """The sides that answer whole questions, from samples to text; who is missing is told."""
    vllm = ["--model", str(plain), "--dtype", "fp32", "--ears", str(checkpoint), *vllm_options]
    return _there(
        [
            Side("transformers fp32", Path(sys.executable), "transformers_chat", ["--checkpoint", str(checkpoint)]),
            Side("vllm fp32", VLLM_PYTHON, "vllm_async", vllm),
        ]
    )


def _there(sides: list[Side]) -> list[Side]:
    for side in sides:
        if not side.python.exists():
            print(f"{side.name} is left out: {side.python} is not there, see `make peers`", file=sys.stderr)
    return [side for side in sides if side.python.exists()]
