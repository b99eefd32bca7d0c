"""Jobs while the processes that work on them are killed at random: `make test-faults`.

Gateway, Redis (append-only file), workers, preprocess, encoder and decoder are real processes; only the model is cheap.
Each is killed with SIGKILL and started again, over and over, while jobs are handed in and worked on. Afterwards the
same recordings are done undisturbed, and both runs are compared.
"""

import argparse
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from auricle import AuricleError, Client, JobResult
from tests.job_platform import JobPlatform, running_job_platform
from tests.platform_fakes import recording

T = TypeVar("T")
CALLERS = 8
MAX_WINDOWS = 12
# Long enough for a worker to die with windows in its hands.
INSTRUCTION = "[wait 0.1] Transcribe the speech."
JOB_SECONDS = 600.0
PROGRESS_SECONDS = 10.0


@dataclass(frozen=True)
class Weather:
    """How long until something that serves is killed, how long it stays dead (both drawn evenly), how many at most.

    On a busy machine a process takes many seconds to serve again; were all dead at once, nothing would be tried.
    """

    calm_seconds: tuple[float, float] = (0.2, 0.8)
    dead_seconds: tuple[float, float] = (0.0, 0.5)
    most_dead: int = 2
    most_kills: int | None = None


@dataclass(frozen=True)
class Toy:
    """A recording and how many windows it has."""

    number: int
    windows: tuple[int, ...]

    @property
    def data(self) -> bytes:
        """What is uploaded."""
        return recording(f"storm {self.number}", *self.windows)


@dataclass
class Report:
    """What came of all jobs."""

    jobs: int = 0
    windows: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    fallen: Counter[str] = field(default_factory=Counter)
    encoded: int = 0
    decoded: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.jobs} jobs of {self.windows} windows in {self.seconds:.1f} s under {self.kills.total()} kills"
            f" ({_counts(self.kills)})\nended by themselves and started again: {_counts(self.fallen) or 'none'}\n"
            f"windows encoded {self.encoded}, decoded {self.decoded}:"
            f" {self.encoded - self.windows} and {self.decoded - self.windows} more than needed\n"
            f"lost, stuck, missing, counted twice or different: {len(self.wrong)}"
        )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def toys(count: int, seed: int) -> list[Toy]:
    """Recordings of 1 to 12 windows."""
    draw = random.Random(seed)
    return [Toy(n, tuple(draw.choices(range(2, 30), k=draw.randint(1, MAX_WINDOWS)))) for n in range(count)]


def persistently(attempt: Callable[[], T]) -> T:
    """Repeat what a dead gateway or Redis refuses, as a caller's program would."""
    deadline = time.monotonic() + JOB_SECONDS
    while True:
        try:
            return attempt()
        except AuricleError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def done(client: Client, toy: Toy) -> tuple[JobResult, int]:
    """Hand in a recording, wait for the end; its result, and windows as the record counts them."""
    upload = persistently(lambda: client.upload(toy.data))
    request_id = str(uuid.uuid4())
    job = persistently(lambda: client.jobs.create(upload, request_id=request_id, instruction=INSTRUCTION))
    job = persistently(lambda: client.jobs.wait(job, timeout_seconds=JOB_SECONDS))
    result = persistently(lambda: client.jobs.result(job))
    return result, job.progress.finished_windows


class Storm:
    """Kills processes of a platform. Call it from the thread that started them."""

    def __init__(self, platform: JobPlatform, weather: Weather, seed: int) -> None:
        self._platform = platform
        self._weather = weather
        self._draw = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.fallen: Counter[str] = Counter()

    def rage(self, until: Callable[[], bool]) -> None:
        """Kill one after the other until the condition holds; then everything runs again."""
        while not until():
            self._sleep(self._weather.calm_seconds, until)
            self._start_fallen()
            processes = self._platform.supervisor.processes
            serving = [name for name, process in processes.items() if process.spec.is_ready()]
            dead = len(processes) - len(serving)
            if dead >= self._weather.most_dead or self.kills.total() == self._weather.most_kills:
                continue
            # Whatever was spared most so far, so that each kind of death comes about equally often.
            fewest = min(self.kills[name] for name in serving)
            name = self._draw.choice([name for name in serving if self.kills[name] == fewest])
            self._platform.kill(name)
            self.kills[name] += 1
            self._sleep(self._weather.dead_seconds, lambda: False)
            self._platform.process(name).start()
        for process in self._platform.supervisor.processes.values():
            process.wait_ready()

    def _start_fallen(self) -> None:
        """What ended by itself is started again, as `auricle up` and Kubernetes do."""
        for name, process in self._platform.supervisor.processes.items():
            if process.exit_code is not None:
                self.fallen[name] += 1
                process.start()

    def _sleep(self, seconds: tuple[float, float], until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._draw.uniform(*seconds)
        while time.monotonic() < deadline and not until():
            time.sleep(0.05)


class Telling:
    """Whether all jobs are done; on the way, says how far they are."""

    def __init__(self, jobs: Sequence[Future[T]], kills: Counter[str], tell: Callable[[str], None]) -> None:
        self._jobs = jobs
        self._kills = kills
        self._tell = tell
        self._started = self._told = time.monotonic()

    def all_done(self) -> bool:
        """Ask often."""
        done, now = sum(job.done() for job in self._jobs), time.monotonic()
        if now - self._told > PROGRESS_SECONDS:
            self._told = now
            self._tell(
                f"{now - self._started:5.0f} s: {done} of {len(self._jobs)} jobs done, {self._kills.total()} kills"
            )
        return done == len(self._jobs)

    def wait(self) -> None:
        """Until all are done."""
        while not self.all_done():
            time.sleep(0.2)


def run(
    platform: JobPlatform,
    *,
    jobs: int,
    seed: int,
    weather: Weather | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """A storm over so many jobs, then the same without one. Call it from the thread that started the platform.

    ``tell`` is given a line on the progress from time to time.
    """
    recordings, report = toys(jobs, seed), Report(jobs=jobs)
    report.windows = sum(len(toy.windows) for toy in recordings)
    encoded, decoded = platform.worked_on("encode"), platform.worked_on("decode")
    with platform.client() as client, ThreadPoolExecutor(CALLERS) as callers:
        started = time.monotonic()
        pending = [callers.submit(done, client, toy) for toy in recordings]
        storm = Storm(platform, weather or Weather(), seed)
        telling = Telling(pending, storm.kills, tell)
        storm.rage(until=telling.all_done)
        report.seconds = time.monotonic() - started
        report.kills, report.fallen = storm.kills, storm.fallen
        report.encoded = platform.worked_on("encode") - encoded
        report.decoded = platform.worked_on("decode") - decoded
        calm = [callers.submit(done, client, toy) for toy in recordings]
        Telling(calm, Counter(), tell).wait()
        for toy, stormy, undisturbed in zip(recordings, pending, calm, strict=True):
            report.wrong += _wrong(toy, stormy, undisturbed)
    return report


def _wrong(toy: Toy, stormy: Future[tuple[JobResult, int]], undisturbed: Future[tuple[JobResult, int]]) -> list[str]:
    """What is wrong with a job, in words."""
    name = f"job {toy.number} of {len(toy.windows)} windows"
    expected, _ = undisturbed.result()
    if error := stormy.exception():
        return [f"{name}: {error!r}"]
    result, counted = stormy.result()
    problems = []
    if counted != len(toy.windows):
        problems.append(f"{name}: {counted} windows counted")
    if result.failed_windows:
        problems.append(f"{name}: {len(result.failed_windows)} windows failed: {result.failed_windows[0].error}")
    if result.segments != expected.segments or result.text != expected.text:
        problems.append(f"{name}: another result than undisturbed")
    if result.output_tokens != expected.output_tokens:
        problems.append(f"{name}: {result.output_tokens} tokens counted, {expected.output_tokens} undisturbed")
    return problems


def main() -> None:
    """Run a storm and print the counts; ends with 1 when anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=400, help="after so many it stays calm, so that every run ends")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, running_job_platform(Path(home), workers=given.workers) as platform:
        weather = Weather(most_kills=given.kills)
        report = run(platform, jobs=given.jobs, seed=given.seed, weather=weather, tell=partial(print, flush=True))
    print(report)
    print(*report.wrong, sep="\n")
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
