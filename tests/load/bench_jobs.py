"""Jobs over long recordings: speed, cost, memory, and what the job machinery adds to the pipeline.

    python -m tests.load.bench_jobs

One platform for each number of workers serves all lengths, shorter recordings first and more often, so that each length
hears as much audio. In a round one job transcribes a recording whose windows nobody has heard before, and windows like
those, as unheard (the decoder would find the same ones in its prefix cache), go through the pipeline directly, from one
process, without record, queues and store; every other round begins with these. What the jobs took longer is their
overhead. Cost is the processor time of all processes; memory is the largest resident size of each with its children,
seen twice a second. The embedding cache in Redis is bounded at 32 MiB, which the first recording fills.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from auricle import Client
from auricle.v1 import audio_pb2, generation_pb2, preprocess_pb2
from services.common import tensors
from services.jobs.settings import WorkerSettings
from services.jobs.tasks import TRANSCRIBE
from services.local.demo_job import RATE_HZ, recording
from services.local.platform import HOST
from services.pipeline.asking import Asker, is_silent
from services.pipeline.conversation import AudioInput, chunked
from services.pipeline.fleets import fleets_of
from services.pipeline.hearing import Listener
from services.pipeline.model_watch import ModelWatch
from services.pipeline.settings import FleetSettings
from services.pipeline.timing import RequestClock
from tests.load.figures import ratio
from tests.platform import RunningPlatform, running_platform

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
MAX_OUTPUT_TOKENS = 16
SAMPLE_SECONDS = 0.5
MAX_MESSAGE_BYTES = 64 * 2**20
CHUNK_BYTES = 2**18
CACHE_MAX_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Pass:
    """One recording's windows, once through: as a job or directly.

    Attributes:
        seconds: from the creation of the job, or the first chunk, to the end.
        cpu_seconds: processor time of all processes.
    """

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Report:
    """One length of recording with one number of workers.

    Attributes:
        jobs, direct: a pass of each kind for every round; as many windows are worked on at once in both.
        peak_mb: largest resident size of each process with its children while jobs ran.
    """

    minutes: float
    workers: int
    windows: int
    jobs: list[Pass]
    direct: list[Pass]
    peak_mb: dict[str, float]

    def figures(self) -> dict[str, Any]:
        """Medians over the rounds; overheads are medians of the rounds' ratios, with the smallest and largest."""
        pairs = list(zip(self.jobs, self.direct, strict=True))
        job_seconds = statistics.median(job.seconds for job in self.jobs)
        return {
            "minutes": self.minutes,
            "workers": self.workers,
            "windows": self.windows,
            "rounds": len(pairs),
            "job_seconds": round(job_seconds, 2),
            "times_real_time": round(self.minutes * 60 / job_seconds, 2),
            "direct_seconds": round(statistics.median(way.seconds for way in self.direct), 2),
            "job_to_direct": ratio([job.seconds / way.seconds for job, way in pairs]),
            "job_cpu_to_direct": ratio([job.cpu_seconds / way.cpu_seconds for job, way in pairs]),
            "cpu_seconds_per_minute": round(sum(job.cpu_seconds for job in self.jobs) / len(pairs) / self.minutes, 3),
            "peak_mb": {name: round(value, 1) for name, value in self.peak_mb.items()},
        }


def sound_of(minutes: float, seed: int) -> np.ndarray:
    """The demo's recording over and over, int16 at 16 kHz, with a faint noise so that no window is known already."""
    events, _ = recording(SAMPLES)
    count = round(minutes * 60 * RATE_HZ)
    noise = np.random.default_rng(seed).integers(-20, 21, count, dtype=np.int16)
    return np.resize(events, count) // 2 + noise


class Watcher:
    """Processor time and memory of all processes of a platform, children included."""

    def __init__(self, platform: RunningPlatform) -> None:
        self._roots = {name: psutil.Process(p.pid) for name, p in platform.supervisor.processes.items() if p.pid}
        self.peak_mb: dict[str, float] = dict.fromkeys(self._roots, 0.0)
        self._stop = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at the memory for the time of the block."""
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def cpu_seconds(self) -> float:
        """Processor time so far; that of children that have ended is their parents'."""
        total = 0.0
        for root in self._roots.values():
            for process in (root, *root.children(recursive=True)):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def _look(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            for name, root in self._roots.items():
                self.peak_mb[name] = max(self.peak_mb[name], _resident_mb(root))


def _resident_mb(root: psutil.Process) -> float:
    total = 0
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # a child of preprocess lives for one recording
            total += process.memory_info().rss
    return total / 2**20


def run_job(platform: RunningPlatform, sound: np.ndarray) -> tuple[Pass, int, dict[str, float]]:
    """The pass, its windows, and peaks of memory."""
    watcher = Watcher(platform)
    with Client(platform.address, timeout_seconds=600) as client, watcher.watching():
        upload = client.upload(sound)
        cpu_seconds, started = watcher.cpu_seconds(), time.perf_counter()
        job = client.jobs.create(upload, max_output_tokens=MAX_OUTPUT_TOKENS).wait()
        seconds = time.perf_counter() - started
        assert job.state == "succeeded", job.error
        assert job.result().cached_windows == 0
        return Pass(seconds, watcher.cpu_seconds() - cpu_seconds), job.progress.windows, watcher.peak_mb


def run_directly(platform: RunningPlatform, sound: np.ndarray, at_once: int) -> Pass:
    """The same work without jobs."""
    watcher, own = Watcher(platform), psutil.Process()

    def cpu_seconds() -> float:
        return watcher.cpu_seconds() + sum(own.cpu_times()[:2])

    before = cpu_seconds()
    seconds = asyncio.run(_through_the_pipeline(platform, sound, at_once))
    return Pass(seconds, cpu_seconds() - before)


async def _through_the_pipeline(platform: RunningPlatform, sound: np.ndarray, at_once: int) -> float:
    ports = platform.config.ports
    addresses = FleetSettings(
        preprocess_address=f"{HOST}:{ports.preprocess}",
        encoder_address=f"{HOST}:{ports.encoder_grpc}",
        decoder_address=f"{HOST}:{ports.decoder}",
    )
    fleets = fleets_of(addresses, MAX_MESSAGE_BYTES)
    model = await ModelWatch(fleets.encoder, fleets.decoder).current()
    listener, free = Listener(fleets.preprocess, fleets.encoder, None), asyncio.Semaphore(at_once)
    asker = Asker(fleets.decoder, generation_pb2.GenerationConfig(max_output_tokens=MAX_OUTPUT_TOKENS), is_bulk=True)
    raw_pcm = audio_pb2.RawPcm(sample_rate_hz=RATE_HZ, channels=1, sample_format=audio_pb2.SAMPLE_FORMAT_S16LE)

    def chunks() -> AsyncIterator[bytes]:
        return chunked(sound.tobytes(), CHUNK_BYTES)

    async def answer(window: preprocess_pb2.PreprocessedWindow) -> None:
        async with free:
            if not is_silent(window.window):
                heard = await listener.embed(window, model, RequestClock())
                await asker.ask(TRANSCRIBE, tensors.to_proto(heard.embeddings))

    started = time.perf_counter()
    config = preprocess_pb2.PreprocessConfig(mel_bins=model.mel_bins, raw_pcm=raw_pcm)
    async with asyncio.TaskGroup() as group:
        async with aclosing(fleets.preprocess.windows(AudioInput("audio", chunks, raw_pcm), config)) as responses:
            async for response in responses:
                if response.HasField("window"):
                    group.create_task(answer(response.window))
    seconds = time.perf_counter() - started
    await fleets.close()
    return seconds


def measure(lengths: Sequence[float], workers: int) -> Iterator[Report]:
    """All lengths, the shortest first, in one platform."""
    at_once = WorkerSettings().concurrency * workers
    cache = {f"AURICLE_{who}_CACHE_MAX_BYTES": str(CACHE_MAX_BYTES) for who in ("GATEWAY", "WORKER")}
    seeds = itertools.count(1000 * workers)
    with (
        tempfile.TemporaryDirectory() as home,
        running_platform("auricle-mini", Path(home), workers=workers, **cache) as platform,
    ):
        run_job(platform, sound_of(2, next(seeds)))  # warms everything up
        for minutes in sorted(lengths):
            report = Report(minutes, workers, 0, [], [], {})
            for number in range(max(1, round(max(lengths) / minutes))):
                for kind in ("job", "direct") if number % 2 == 0 else ("direct", "job"):
                    sound = sound_of(minutes, next(seeds))
                    if kind == "direct":
                        report.direct.append(run_directly(platform, sound, at_once))
                        continue
                    taken, windows, peak_mb = run_job(platform, sound)
                    report.jobs.append(taken)
                    peak_mb = {name: max(mb, report.peak_mb.get(name, 0.0)) for name, mb in peak_mb.items()}
                    report = replace(report, windows=windows, peak_mb=peak_mb)
                told = f"job {report.jobs[-1].seconds:.1f} s, directly {report.direct[-1].seconds:.1f} s"
                print(f"{minutes:g} min, {workers} workers, round {number + 1}: {told}", flush=True)
            yield report


def main() -> None:
    """Print the figures, and write them with every pass as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 60.0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, help="file for the raw figures")
    given = parser.parse_args()
    reports = []
    for workers in given.workers:
        for report in measure(given.minutes, workers):
            for name, value in report.figures().items():
                print(f"{name:<24}{value}", flush=True)
            print()
            reports.append(report)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        told = [{"figures": report.figures(), "raw": asdict(report)} for report in reports]
        given.json.write_text(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
