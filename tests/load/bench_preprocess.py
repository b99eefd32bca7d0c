"""What preprocess costs: an hour of audio in memory and time, and the sandbox's hand-over on short clips.

    python -m tests.load.bench_preprocess [--minutes 60] [--formats wav mp3 ...] [--json FILE]

The service runs as it is deployed, as a process of its own with its children. Memory is the resident set of each of its
processes, read every 50 ms from outside; pages that children share with the zygote count in each of them, so `together`
is an upper bound. Overhead is the time of a whole call, seen by its caller, less what the child computed.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests import sounds
from tests.preprocess_server import PreprocessCaller, RunningPreprocess, caller_of, chunk_message, config_message
from tests.preprocess_server import running_preprocess as running

RATE_HZ = 16_000
CHUNK_BYTES = 2**18
SAMPLE_SECONDS = 0.05
SENTENCES = 12
HOUR_FORMATS = ("wav", "mp3")
CLIP_SECONDS = (1.0, 5.0, 30.0)
CLIPS = 30
WARM_UP = 5
MIB = 2**20


@dataclass(frozen=True)
class LongReport:
    """One long recording. Memory in MiB of resident set, peaks over the call."""

    format: str
    audio_seconds: float
    file_mib: float
    windows: int
    seconds: float
    compute_seconds: float
    times_real_time: float
    first_window_seconds: float
    service_mib: float
    zygote_mib: float
    child_mib: float
    together_mib: float


@dataclass(frozen=True)
class ClipReport:
    """Short recordings, one at a time. Milliseconds."""

    clip_seconds: float
    call_p50_ms: float
    call_p95_ms: float
    compute_p50_ms: float
    overhead_p50_ms: float
    overhead_p95_ms: float


class MemoryWatch:
    """Peaks of the resident sets of a service's processes while it is entered."""

    def __init__(self, service: RunningPreprocess) -> None:
        self._service = service
        self.peaks = {"service": 0.0, "zygote": 0.0, "child": 0.0, "together": 0.0}

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Read every SAMPLE_SECONDS until left."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()

    async def _watch(self) -> None:
        zygote = self._service.zygote()
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):
                children = [_resident_mib(child) for child in zygote.children()]
                now = {
                    "service": _resident_mib(self._service.process),
                    "zygote": _resident_mib(zygote),
                    "child": max(children, default=0.0),
                }
                now["together"] = now["service"] + now["zygote"] + sum(children)
                self.peaks = {name: max(peak, now[name]) for name, peak in self.peaks.items()}
            await asyncio.sleep(SAMPLE_SECONDS)


def _resident_mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / MIB


def long_file(name: str, minutes: float, directory: Path) -> Path:
    """A recording of speech with pauses, written once per format."""
    sentences = [np.append(sounds.voice(4.0, seed), sounds.silence(1.0)) for seed in range(SENTENCES)]
    path = directory / name.replace(" ", "-")
    repeated = itertools.islice(itertools.cycle(sentences), round(minutes * 60 / 5))
    sounds.write(path, repeated, RATE_HZ, sounds.FORMATS[name])
    return path


def chunks_of(path: Path) -> Iterator[bytes]:
    """The file in chunks, read when they are wanted."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


async def measure_long(service: RunningPreprocess, name: str, path: Path) -> LongReport:
    """Send a file as fast as it is taken, take its windows, watch the service's memory."""
    watch = MemoryWatch(service)
    async with caller_of(service) as caller, watch.watching():
        start = time.perf_counter()
        call = caller.call()
        sending = asyncio.create_task(_send(call, chunks_of(path)))
        windows, first_window_seconds = 0, 0.0
        while (response := await call.read()).HasField("window"):
            first_window_seconds = first_window_seconds or time.perf_counter() - start
            windows += 1
        seconds = time.perf_counter() - start
        await sending
    heard_seconds = response.summary.heard_seconds
    return LongReport(
        format=name,
        audio_seconds=heard_seconds,
        file_mib=response.summary.received_bytes / MIB,
        windows=windows,
        seconds=seconds,
        compute_seconds=response.summary.compute_ms / 1000,
        times_real_time=heard_seconds / seconds,
        first_window_seconds=first_window_seconds,
        **{f"{process}_mib": peak for process, peak in watch.peaks.items()},
    )


async def _send(call: Any, chunks: Iterator[bytes]) -> None:
    await call.write(config_message())
    for chunk in chunks:
        await call.write(chunk_message(chunk))
    await call.done_writing()


async def measure_clips(caller: PreprocessCaller, clip_seconds: float) -> ClipReport:
    """Calls one after the other, each with a clip of its own, as a WAV file."""
    calls_ms, computes_ms = [], []
    for seed in range(CLIPS + WARM_UP):
        data = sounds.wav(sounds.pcm16(sounds.tone(clip_seconds, frequency_hz=200 + seed)))
        heard = await caller.hear(data)
        if heard.summary is None:
            raise RuntimeError(str(heard.error))
        if seed >= WARM_UP:
            calls_ms.append(heard.seconds * 1000)
            computes_ms.append(heard.summary.compute_ms)
    overheads_ms = [call - compute for call, compute in zip(calls_ms, computes_ms, strict=True)]
    return ClipReport(
        clip_seconds=clip_seconds,
        call_p50_ms=statistics.median(calls_ms),
        call_p95_ms=float(np.percentile(calls_ms, 95)),
        compute_p50_ms=statistics.median(computes_ms),
        overhead_p50_ms=statistics.median(overheads_ms),
        overhead_p95_ms=float(np.percentile(overheads_ms, 95)),
    )


async def measure(minutes: float, formats: list[str]) -> dict[str, list[LongReport] | list[ClipReport]]:
    """Both tables. Each long recording meets a fresh service, so that peaks are its own."""
    long_reports, clip_reports = [], []
    with tempfile.TemporaryDirectory() as directory:
        for name in formats:
            path = long_file(name, minutes, Path(directory))
            with running() as service:
                long_reports.append(await measure_long(service, name, path))
    with running() as service:
        async with caller_of(service) as caller:
            clip_reports = [await measure_clips(caller, seconds) for seconds in CLIP_SECONDS]
    return {"long": long_reports, "clips": clip_reports}


def print_table(reports: list[LongReport] | list[ClipReport]) -> None:
    """Reports as aligned columns."""
    rows = [asdict(report) for report in reports]
    cells = [list(rows[0])] + [[f"{v:.1f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    print()


def main() -> None:
    """Measure, print both tables and the JSON."""
    parser = argparse.ArgumentParser(description="measure preprocess")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--formats", nargs="+", default=list(HOUR_FORMATS), choices=list(sounds.FORMATS))
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    reports = asyncio.run(measure(arguments.minutes, arguments.formats))
    for table in reports.values():
        print_table(table)
    figures = json.dumps({name: [asdict(report) for report in table] for name, table in reports.items()}, indent=1)
    print(figures)
    if arguments.json:
        arguments.json.write_text(figures + "\n")


if __name__ == "__main__":
    main()
