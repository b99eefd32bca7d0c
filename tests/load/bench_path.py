"""What the platform adds to its own computing: time to the first token through the whole path against its parts.

    python -m tests.load.bench_path

Every request carries a new 5 s clip, so nothing comes from the cache. The compute is what the services report for the
request itself (decode, resample, speech and mel; encoder; prefill); all the rest, from the client's call to the first
text in its hands, is overhead: serialization, hops, queues, scheduling, and the sandbox's hand-over. Beside it stands
what gRPC alone takes of it (tests.load.hops): the same messages between idle processes, without the hop to Triton.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from auricle import Client
from tests.load import hops
from tests.platform import running_platform
from tests.prompts import TRANSCRIBE, audio, text

WARM_UP = 5


@dataclass(frozen=True)
class PathReport:
    """Milliseconds over all requests."""

    requests: int
    clip_seconds: float
    first_token_p50_ms: float
    first_token_p95_ms: float
    compute_p50_ms: float
    compute_p95_ms: float
    overhead_p50_ms: float
    overhead_p95_ms: float
    idle_hops_ms: float


def first_token(client: Client, clip_seconds: float, seed: int) -> tuple[float, float]:
    """Client-side milliseconds to the first token, and the milliseconds that the services computed for it."""
    content = [audio(clip_seconds, seed), text(TRANSCRIBE)]
    start = time.perf_counter()
    # One token is asked for: the decoder's compute is then its prefill alone, and the stream ends with the first token.
    with client.stream_chat(content, max_output_tokens=1) as stream:
        for _ in stream:
            break
        elapsed_ms = (time.perf_counter() - start) * 1000
        for _ in stream:
            pass
    usage = stream.answer.usage
    assert usage.cached_tokens == 0
    return elapsed_ms, sum(timing.compute_ms for timing in usage.timings)


def measure(requests: int, clip_seconds: float) -> PathReport:
    """Start a platform and ask one request after the other."""
    with tempfile.TemporaryDirectory() as home, running_platform("auricle-mini", Path(home)) as platform:
        with Client(platform.address) as client:
            pairs = [first_token(client, clip_seconds, seed) for seed in range(WARM_UP + requests)][WARM_UP:]
    total, compute = np.array(pairs).T
    quantiles = {
        f"{name}_{label}_ms": round(float(np.percentile(values, q)), 2)
        for name, values in (("first_token", total), ("compute", compute), ("overhead", total - compute))
        for label, q in (("p50", 50), ("p95", 95))
    }
    return PathReport(requests, clip_seconds, **quantiles, idle_hops_ms=round(sum(hops.measure().values()), 2))


def main() -> None:
    """Print the report, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--clip-seconds", type=float, default=5.0)
    parser.add_argument("--json", type=Path, help="file for the raw figures")
    arguments = parser.parse_args()
    report = measure(arguments.requests, arguments.clip_seconds)
    for name, value in asdict(report).items():
        print(f"{name:<22}{value:>10}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(asdict(report), indent=2))


if __name__ == "__main__":
    main()
