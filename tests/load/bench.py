"""`make bench`: every benchmark after the other, each against its peer in the same run; JSON in bench-results/."""

import subprocess
import sys
from pathlib import Path

RESULTS = Path("bench-results")
BENCHMARKS = ("bench_encoder", "bench_decoder", "bench_path", "bench_preprocess")


def main() -> None:
    """Run each benchmark in a process of its own, so that none inherits another's threads or memory."""
    RESULTS.mkdir(exist_ok=True)
    for name in BENCHMARKS:
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", f"tests.load.{name}", "--json", str(RESULTS / f"{name}.json")]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
