"""Jobs over long recordings: speed, cost, memory, and what the job machinery adds to the pipeline.

    python -m tests.load.bench_jobs

For each length and number of workers one job transcribes a recording whose windows nobody has heard before. Then
windows like those, as unheard (the decoder would find the same ones in its prefix cache), go through the pipeline
directly, from one process, without record, queues and store; what the job took longer is its overhead. Cost is the
processor time of all processes; memory is the largest resident size of each, seen twice a second.
"""

import argparse
import asyncio
import json
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

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
from tests.platform import RunningPlatform, running_platform

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
MAX_OUTPUT_TOKENS = 16
SAMPLE_SECONDS = 0.5
MAX_MESSAGE_BYTES = 64 * 2**20
CHUNK_BYTES = 2**18


@dataclass(frozen=True)
class JobReport:
    """One recording as a job, and its windows through the pipeline directly.

    Attributes:
        job_seconds: from the creation to the end.
        speed: seconds of audio in a second.
        cpu_seconds_per_minute: processor time of all processes for a minute of audio.
        peak_mb: largest resident size of each process, in MB.
        direct_seconds, direct_cpu_seconds_per_minute: the same windows through the pipeline, with as many at once as
            the workers have.
        overhead, cpu_overhead: what the job took longer, and what processor time it took more, as a part of the direct
            way's.
    """

    minutes: float
    workers: int
    windows: int
    job_seconds: float
    speed: float
    cpu_seconds_per_minute: float
    direct_seconds: float
    direct_cpu_seconds_per_minute: float
    overhead: float
    cpu_overhead: float
    peak_mb: dict[str, float] = field(default_factory=dict)


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
            for name, process in self._roots.items():
                self.peak_mb[name] = max(self.peak_mb[name], process.memory_info().rss / 2**20)


def run_job(platform: RunningPlatform, sound: np.ndarray) -> tuple[float, int, float, dict[str, float]]:
    """Seconds, windows, processor seconds, and peaks of memory."""
    watcher = Watcher(platform)
    with Client(platform.address, timeout_seconds=600) as client, watcher.watching():
        upload = client.upload(sound)
        cpu_seconds, started = watcher.cpu_seconds(), time.perf_counter()
        job = client.jobs.create(upload, max_output_tokens=MAX_OUTPUT_TOKENS).wait()
        seconds = time.perf_counter() - started
        assert job.state == "succeeded", job.error
        assert job.result().cached_windows == 0
        return seconds, job.progress.windows, watcher.cpu_seconds() - cpu_seconds, watcher.peak_mb


async def run_directly(platform: RunningPlatform, sound: np.ndarray, at_once: int) -> float:
    """Seconds of the same work without jobs."""
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


def measure(minutes: float, workers: int) -> JobReport:
    """A platform of its own for one recording, so that nothing is left from another."""
    sound = sound_of(minutes, seed=round(minutes * 10 + workers))
    with tempfile.TemporaryDirectory() as home:
        with running_platform("auricle-mini", Path(home), workers=workers) as platform:
            run_job(platform, sound_of(0.5, seed=0))  # warms everything up
            job_seconds, windows, cpu_seconds, peak_mb = run_job(platform, sound)
            at_once = WorkerSettings().concurrency * workers
            watcher, own = Watcher(platform), psutil.Process()
            unheard = sound_of(minutes, seed=round(minutes * 10 + workers + 5000))
            before = watcher.cpu_seconds() + sum(own.cpu_times()[:2])
            direct_seconds = asyncio.run(run_directly(platform, unheard, at_once))
            direct_cpu_seconds = watcher.cpu_seconds() + sum(own.cpu_times()[:2]) - before
    return JobReport(
        minutes=minutes,
        workers=workers,
        windows=windows,
        job_seconds=round(job_seconds, 2),
        speed=round(minutes * 60 / job_seconds, 2),
        cpu_seconds_per_minute=round(cpu_seconds / minutes, 2),
        direct_seconds=round(direct_seconds, 2),
        direct_cpu_seconds_per_minute=round(direct_cpu_seconds / minutes, 2),
        overhead=round(job_seconds / direct_seconds - 1, 3),
        cpu_overhead=round(cpu_seconds / direct_cpu_seconds - 1, 3),
        peak_mb={name: round(value, 1) for name, value in peak_mb.items()},
    )


def main() -> None:
    """Print the reports, and write them as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 60.0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, help="file for the raw figures")
    arguments = parser.parse_args()
    reports = [measure(minutes, workers) for minutes in arguments.minutes for workers in arguments.workers]
    for report in reports:
        for name, value in asdict(report).items():
            print(f"{name:<24}{value}")
        print()
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps([asdict(report) for report in reports], indent=2))


if __name__ == "__main__":
    main()
