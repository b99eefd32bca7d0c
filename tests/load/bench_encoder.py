"""What encoding without padding saves, and what Triton costs.

    python -m tests.load.bench_encoder

Two tables from one run on one machine. The first: clips of one length through `AudioEncoder` as they are, against the same
clips through transformers padded to 30 s, in batches of one size. The second: 5 s clips through Triton over gRPC against
the same encoder called in this process, in batches of one size; Triton's callers share the machine with it. Either side
runs with the same threads, the order alternates from round to round, and medians are told.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

# As in Triton's model.py, so that both sides wait in the same way.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from services.encoder.parity import Reference, synthetic_clip
from services.encoder.publish import publish
from services.encoder.repository import EncoderRepository
from services.encoder.settings import EncoderSettings
from services.local.triton import TritonServer
from services.pipeline.encoder_client import EncoderClient
from services.qwen2_audio.encoder import AudioEncoder
from services.qwen2_audio.mel import LogMel, log_mel
from services.qwen2_audio.resolve import resolve_checkpoint
from services.qwen2_audio.weights import load_audio_encoder
from tests.triton import running_triton, settled_counters

CLIP_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)
PADDED_BATCH = 4
TRITON_CLIP_SECONDS = 5.0
TRITON_BATCHES = (1, 8)


@dataclass(frozen=True)
class PaddingRow:
    """Clips a second, and seconds of audio a second, of one clip length."""

    clip_seconds: float
    ragged_clips_per_second: float
    padded_clips_per_second: float
    ragged_realtime_factor: float
    ratio: float


@dataclass(frozen=True)
class TritonRow:
    """Clips a second of one batch size; `mean_batch` is what Triton really formed."""

    batch: int
    in_process_clips_per_second: float
    triton_clips_per_second: float
    mean_batch: float
    ratio: float


@dataclass(frozen=True)
class EncoderReport:
    """Both tables and what they were measured with."""

    model: str
    threads: int
    rounds: int
    padding: list[PaddingRow]
    triton: list[TritonRow]


def alternate(rounds: int, first: Callable[[], float], second: Callable[[], float]) -> tuple[float, float, float]:
    """Medians of two measurements and of their ratio within a round; which goes first changes every round."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            late, early = second(), first()
            pairs.append((early, late))
        else:
            pairs.append((first(), second()))
    ratios = [a / b for a, b in pairs]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), statistics.median(ratios)


def calls_per_second(call: Callable[[], object], least_seconds: float) -> float:
    """Call again and again for at least so long, and twice."""
    calls, started = 0, time.perf_counter()
    while calls < 2 or time.perf_counter() - started < least_seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - started)


def encode_in_process(encoder: AudioEncoder, mel: LogMel, batch: int) -> None:
    """One batch of equal clips."""
    with torch.inference_mode():
        encoder([torch.from_numpy(mel.features)] * batch, [mel.num_frames] * batch)


def compare_with_padding(checkpoint: Path, rounds: int) -> list[PaddingRow]:
    """AudioEncoder on clips as they are against transformers on clips padded to 30 s."""
    encoder, reference = load_audio_encoder(checkpoint), Reference(checkpoint)
    rows = []
    for seconds in CLIP_SECONDS:
        clip = synthetic_clip(seconds)
        mel, padded = log_mel(clip, encoder.mel_bins), reference.features([clip] * PADDED_BATCH)
        ragged_rate, padded_rate, ratio = alternate(
            rounds,
            lambda mel=mel: calls_per_second(lambda: encode_in_process(encoder, mel, PADDED_BATCH), 0.5),
            lambda padded=padded: calls_per_second(lambda: reference.encode(padded), 0.5),
        )
        clips, padded_clips = ragged_rate * PADDED_BATCH, padded_rate * PADDED_BATCH
        rows.append(PaddingRow(seconds, clips, padded_clips, clips * seconds, ratio))
    return rows


@contextmanager
def server_of(repository: Path, batch: int, directory: Path, threads: int):
    EncoderRepository(repository).write_config(EncoderSettings(max_batch_size=batch))
    with running_triton(repository, directory, threads=threads) as server:
        yield server


async def clips_per_second(server: TritonServer, mel: LogMel, callers: int, least_seconds: float) -> float:
    """So many callers, each with its next clip as soon as it has its last one back."""
    client = EncoderClient(server.grpc_address)
    done, started = 0, time.perf_counter()

    async def call() -> None:
        nonlocal done
        while time.perf_counter() - started < least_seconds:
            await client.encode(mel.features, mel.num_frames, timeout_seconds=60)
            done += 1

    await asyncio.gather(*(call() for _ in range(callers)))
    elapsed = time.perf_counter() - started
    await client.close()
    return done / elapsed


def compare_with_triton(checkpoint: Path, directory: Path, threads: int, rounds: int) -> list[TritonRow]:
    """5 s clips through Triton against the same batches in this process."""
    encoder = load_audio_encoder(checkpoint)
    mel = log_mel(synthetic_clip(TRITON_CLIP_SECONDS), encoder.mel_bins)
    publish(checkpoint, directory)
    rows = []
    for batch in TRITON_BATCHES:
        with server_of(directory, batch, directory.with_name("triton"), threads) as server:
            # Twice as many callers as a batch holds: the next batch is complete when one ends.
            through = lambda server=server, batch=batch: asyncio.run(clips_per_second(server, mel, 2 * batch, 3.0))  # noqa: E731
            here = lambda batch=batch: calls_per_second(lambda: encode_in_process(encoder, mel, batch), 3.0) * batch  # noqa: E731
            through(), here()
            before = settled_counters(server)
            triton_rate, in_process_rate, ratio = alternate(rounds, through, here)
            after = settled_counters(server)
        counted = {name: after[name] - before[name] for name in ("nv_inference_count", "nv_inference_exec_count")}
        mean_batch = counted["nv_inference_count"] / counted["nv_inference_exec_count"]
        rows.append(TritonRow(batch, in_process_rate, triton_rate, mean_batch, ratio))
    return rows


def measure(model: str = "auricle-mini", threads: int = 2, rounds: int = 5) -> EncoderReport:
    """Both comparisons."""
    torch.set_num_threads(threads)
    checkpoint = resolve_checkpoint(model)
    with tempfile.TemporaryDirectory() as directory:
        triton = compare_with_triton(checkpoint, Path(directory) / "repository", threads, rounds)
    return EncoderReport(model, threads, rounds, compare_with_padding(checkpoint, rounds), triton)


def print_report(report: EncoderReport) -> None:
    """Both tables as text."""
    print(f"{report.model}, {report.threads} threads, medians of {report.rounds} rounds")
    print(f"{'clip s':>8}{'ragged clips/s':>16}{'padded clips/s':>16}{'x real time':>13}{'ratio':>8}")
    for row in report.padding:
        print(
            f"{row.clip_seconds:>8g}{row.ragged_clips_per_second:>16.1f}{row.padded_clips_per_second:>16.2f}"
            f"{row.ragged_realtime_factor:>13.0f}{row.ratio:>8.2f}"
        )
    print(f"{'batch':>8}{'Triton clips/s':>16}{'here clips/s':>16}{'formed batch':>13}{'ratio':>8}")
    for line in report.triton:
        print(
            f"{line.batch:>8}{line.triton_clips_per_second:>16.1f}{line.in_process_clips_per_second:>16.2f}"
            f"{line.mean_batch:>13.1f}{line.ratio:>8.2f}"
        )


def main() -> None:
    """Print the report, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="auricle-mini")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the raw figures")
    arguments = parser.parse_args()
    report = measure(arguments.model, arguments.threads, arguments.rounds)
    print_report(report)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(asdict(report), indent=2))


if __name__ == "__main__":
    main()
