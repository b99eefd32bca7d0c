"""Does the planner tell the truth? Its p50 and p95 against a measured run, at three loads.

    python -m tests.load.bench_plan                  # simulated devices
    python -m tests.load.bench_plan --devices real   # auricle-mini itself, all of it on this machine's cores

A platform is started and its service times are measured as `auricle plan profile` does. Then questions come at random
times (Poisson), each about a new clip, and the simulation gets the same times, clips and lengths of answers. Simulated
devices sleep (tests.load.simulated_devices); gateway, preprocess, gRPC, Triton's batcher and the decoder's scheduler
are real. The loads are parts of the rate at which the simulation says that the platform is full.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from auricle import AsyncClient, AuricleError
from services.planning.chart import SERVICES, Limits, read_values, rules_of
from services.planning.load import Request, requests_between
from services.planning.measuring import Trial, measure
from services.planning.profile import Profile, read_profile, write_profile
from services.planning.scenario import Scenario
from services.planning.simulation import Setup, simulate
from tests.load.simulated_devices import WHAT, simulated_platform
from tests.platform import running_platform
from tests.prompts import audio, text

QUESTION = "What do you hear? Describe it."
TARGET = 0.15


@dataclass(frozen=True)
class Comparison:
    """One load: seconds as measured and as simulated, and by what part the simulation was off.

    Attributes:
        machine_load: processes that ran or wanted to, on the mean of the last minute.
        stages: by service, mean seconds of its calls as measured and as simulated.
    """

    share: float
    per_second: float
    requests: int
    failed: int
    p50_seconds: float
    p50_simulated: float
    p95_seconds: float
    p95_simulated: float
    p95_off: float
    machine_load: float
    stages: dict[str, tuple[float, float]]


def scenario(per_second: float, seconds: float, seed: int) -> Scenario:
    """Short clips and answers, at random times."""
    content = {
        "arrivals": {"per_second": per_second},
        "clip_seconds": {"median": 5.0, "p95": 14.0, "most": 28.0},
        "answer_tokens": {"median": 20.0, "p95": 50.0, "most": 100.0},
        "objective": {"p95_seconds": 10.0},
        "hours": seconds / 3600,
        "seed": seed,
    }
    return Scenario.model_validate(content)


class Simulated:
    """The simulation of this platform."""

    def __init__(self, profile: Profile, real_devices: bool) -> None:
        cores = float(os.cpu_count() or 1)
        rules = rules_of(read_values([]))
        # The settings of `auricle up`, not those of the chart.
        rules = replace(rules, limits=Limits(recordings=2 * int(cores), preprocess_cores=cores))
        shared = cores if real_devices else None
        self._setup = Setup(rules, profile, dict.fromkeys(SERVICES, 1), shared_cores=shared)

    def of(self, requests: list[Request], most: float) -> list[Request]:
        """What becomes of the requests here; those that were answered."""
        copies = [Request(r.at, r.audio_seconds, r.answer_tokens) for r in sorted(requests, key=lambda r: r.at)]
        simulate(self._setup, copies, (0.0, 0.0, most))
        return [copy for copy in copies if copy.end_at is not None]

    def capacity(self) -> float:
        """Requests a second when there is always another one."""
        limits = replace(self._setup.rules.limits, chats=10**6, recordings_waiting=10**6, clips_waiting=10**6)
        limits = replace(limits, recordings_wait_seconds=1e6, waiting=10**6)
        endless = replace(self._setup, rules=replace(self._setup.rules, limits=limits))
        requests = [replace(request, at=0.0) for request in requests_between(scenario(2.0, 100, 7), 0, 100)]
        simulate(endless, requests, (0.0, 0.0, 1.0))
        return len(requests) / max(request.end_at or 0.0 for request in requests)


@dataclass(frozen=True)
class Answered:
    """A request with its true arrival, end and tokens; and by service, the seconds of its calls."""

    request: Request
    walls: dict[str, float]


async def ask_all(client: AsyncClient, requests: list[Request], seed: int) -> list[Answered | None]:
    """Each request as it went; None for one that failed."""
    contents = [[audio(r.audio_seconds, seed + number), text(QUESTION)] for number, r in enumerate(requests)]
    start = time.perf_counter() + 1

    async def ask(request: Request, content: Any) -> Answered | None:
        await asyncio.sleep(start + request.at - time.perf_counter())
        at = time.perf_counter() - start
        try:
            async with client.stream_chat(content, max_output_tokens=request.answer_tokens) as stream:
                async for _ in stream:
                    pass
        except AuricleError as error:
            print(f"failed: {error}", flush=True)
            return None
        usage = stream.answer.usage
        went = replace(request, at=at, answer_tokens=usage.output_tokens, end_at=time.perf_counter() - start)
        return Answered(went, {timing.service: timing.wall_ms / 1000 for timing in usage.timings})

    return list(await asyncio.gather(*map(ask, requests, contents)))


async def compare(client: AsyncClient, simulated: Simulated, share: float, seconds: float, seed: int) -> Comparison:
    """Run one load, and simulate what ran."""
    per_second = share * simulated.capacity()
    planned = requests_between(scenario(per_second, seconds, seed), 0, seconds)
    asked = await ask_all(client, planned, 1000 * seed)
    answered = [one for one in asked if one is not None]
    foretold = simulated.of([one.request for one in answered], seconds)
    p50, p95 = np.percentile([_taken(one.request) for one in answered], (50, 95))
    p50_simulated, p95_simulated = np.percentile([_taken(request) for request in foretold], (50, 95))
    walls = {name: [one.walls[name] for one in answered] for name in ("preprocess", "encoder", "decoder")}
    stages = [_stages(request) for request in foretold]
    return Comparison(
        share=share,
        per_second=round(per_second, 3),
        requests=len(asked),
        failed=len(asked) - len(answered),
        p50_seconds=round(float(p50), 3),
        p50_simulated=round(float(p50_simulated), 3),
        p95_seconds=round(float(p95), 3),
        p95_simulated=round(float(p95_simulated), 3),
        p95_off=round(float(p95_simulated / p95 - 1), 3),
        machine_load=round(os.getloadavg()[0], 1),
        stages={name: (_mean(walls[name]), _mean([one[name] for one in stages])) for name in walls},
    )


def _taken(request: Request) -> float:
    return (request.end_at or 0.0) - request.at


def _stages(request: Request) -> dict[str, float]:
    """Seconds of a simulated request in each service; what the gateway adds is counted with preprocess."""
    heard, encoded = request.heard_at or 0.0, request.encoded_at or 0.0
    return {"preprocess": heard - request.at, "encoder": encoded - heard, "decoder": (request.end_at or 0.0) - encoded}


def _mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 3)


async def measure_all(address: str, given: argparse.Namespace) -> tuple[Profile, list[Comparison]]:
    """The profile, and every load after the other."""
    async with AsyncClient(address) as client:
        if given.profile:
            profile = read_profile(given.profile)
        else:
            profile = await measure(client, Trial(rounds=given.rounds))
            print(profile.model_dump_json(indent=2), flush=True)
        simulated = Simulated(profile, given.devices == "real")
        print(f"full at {simulated.capacity():.2f} requests a second", flush=True)
        headings = f"{'p50':>8}{'simulated':>10}{'p95':>8}{'simulated':>10}{'off':>8}"
        print(f"{'load':>5}{'a second':>10}{'requests':>9}{headings}   stages, measured and simulated", flush=True)
        found = []
        for number, share in enumerate(given.loads):
            result = await compare(client, simulated, share, given.seconds, given.seed + number)
            found.append(result)
            print(
                f"{share:>5.2f}{result.per_second:>10.2f}{result.requests:>9}{result.p50_seconds:>8.2f}"
                f"{result.p50_simulated:>10.2f}{result.p95_seconds:>8.2f}{result.p95_simulated:>10.2f}"
                f"{result.p95_off:>+8.1%}   {result.stages} machine {result.machine_load}",
                flush=True,
            )
        return profile, found


def main() -> None:
    """Print the comparison, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", choices=("simulated", "real"), default="simulated")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.3, 0.5, 0.7], help="parts of the full rate")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=4, help="of the measuring of service times")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", type=Path, help="service times, instead of measuring them")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--save-profile", type=Path, help="file for the service times")
    given = parser.parse_args()
    print(WHAT if given.devices == "simulated" else "auricle-mini itself; all services share the machine's cores")
    with tempfile.TemporaryDirectory() as home:
        started = simulated_platform if given.devices == "simulated" else _real_platform
        with started(Path(home)) as platform:
            profile, found = asyncio.run(measure_all(platform.address, given))
    print("target met" if all(abs(c.p95_off) <= TARGET for c in found) else f"target of {TARGET:.0%} not met")
    if given.save_profile:
        write_profile(profile, given.save_profile)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        content = {"profile": profile.model_dump(), "loads": [asdict(comparison) for comparison in found]}
        given.json.write_text(json.dumps(content, indent=2))


def _real_platform(home: Path) -> Any:
    return running_platform("auricle-mini", home)


if __name__ == "__main__":
    main()
