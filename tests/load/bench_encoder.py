"""What encoding without padding saves, and what Triton costs.

    python -m tests.load.bench_encoder

Two tables from one run on one machine. The first: clips of one length through `AudioEncoder` as they are, against the
same clips through transformers padded to 30 s, in batches of one size. The second: 5 s clips through Triton over gRPC
against the same encoder called in this process, in batches of one size; Triton's callers share the machine with it.
Both sides run with the same threads, the order alternates from round to round, and medians are told.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
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
PADDED_ROUND_SECONDS = 0.5
TRITON_CLIP_SECONDS = 5.0
TRITON_BATCHES = (1, 8)
TRITON_ROUND_SECONDS = 3.0
LONE_CALLS = 30


@dataclass(frozen=True)
class PaddingRow:
    """Clips of one length: clips a second, seconds of audio a second, and how much faster ragged is."""

    clip_seconds: float
    ragged_clips_per_second: float
    padded_clips_per_second: float
    ragged_times_real_time: float
    ratio: float


@dataclass(frozen=True)
class TritonRow:
    """Batches of one size: clips a second, the batches that Triton really formed, and Triton's share of in-process."""

    batch: int
    triton_clips_per_second: float
    in_process_clips_per_second: float
    mean_batch_formed: float
    ratio: float


@dataclass(frozen=True)
class EncoderReport:
    """Both tables, what they were measured with, and what a lone call to Triton takes besides the computing (p50)."""

    model: str
    threads: int
    rounds: int
    padding: list[PaddingRow]
    triton: list[TritonRow]
    lone_call_overhead_ms: float


def alternate(rounds: int, first: Callable[[], float], second: Callable[[], float]) -> tuple[float, float, float]:
    """Medians of two measurements and of their ratio within a round; which goes first changes every round."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            late, early = second(), first()
            pairs.append((early, late))
        else:
            pairs.append((first(), second()))
    median = statistics.median
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs)


def calls_per_second(call: Callable[[], object], least_seconds: float) -> float:
    """Call again and again for at least so long, and twice."""
    calls, started = 0, time.perf_counter()
    while calls < 2 or time.perf_counter() - started < least_seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - started)


def encode_in_process(encoder: AudioEncoder, mel: LogMel, batch: int) -> None:
    """One batch of equal clips, each with memory of its own."""
    with torch.inference_mode():
        encoder([torch.from_numpy(mel.features.copy()) for _ in range(batch)], [mel.num_frames] * batch)


def padding_row(encoder: AudioEncoder, reference: Reference, seconds: float, rounds: int) -> PaddingRow:
    """AudioEncoder on clips as they are against transformers on clips padded to 30 s."""
    clip = synthetic_clip(seconds)
    ragged = partial(encode_in_process, encoder, log_mel(clip, encoder.mel_bins), PADDED_BATCH)
    padded = partial(reference.encode, reference.features([clip] * PADDED_BATCH))
    ragged_rate, padded_rate, ratio = alternate(
        rounds,
        partial(calls_per_second, ragged, PADDED_ROUND_SECONDS),
        partial(calls_per_second, padded, PADDED_ROUND_SECONDS),
    )
    clips = ragged_rate * PADDED_BATCH
    return PaddingRow(seconds, clips, padded_rate * PADDED_BATCH, clips * seconds, ratio)


async def clips_per_second(address: str, mel: LogMel, callers: int, least_seconds: float) -> float:
    """So many callers, each with its next clip as soon as it has its last one back."""
    client = EncoderClient(address)
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


def triton_row(server: TritonServer, encoder: AudioEncoder, mel: LogMel, batch: int, rounds: int) -> TritonRow:
    """Clips through a server of this batch size against the same batches in this process."""

    def through_triton() -> float:
        # Twice as many callers as a batch holds and one more: the next batch is complete when one ends, although each
        # caller takes a moment to come back.
        return asyncio.run(clips_per_second(server.grpc_address, mel, 2 * batch + 1, TRITON_ROUND_SECONDS))

    def in_process() -> float:
        return batch * calls_per_second(partial(encode_in_process, encoder, mel, batch), TRITON_ROUND_SECONDS)

    through_triton()
    in_process()
    before = settled_counters(server)
    triton_rate, in_process_rate, ratio = alternate(rounds, through_triton, in_process)
    after = settled_counters(server)
    clips, batches = (after[name] - before[name] for name in ("nv_inference_count", "nv_inference_exec_count"))
    return TritonRow(batch, triton_rate, in_process_rate, clips / batches, ratio)


async def lone_call_overhead_ms(address: str, mel: LogMel) -> float:
    """Median over calls made one after the other, of the time that is not computing."""
    client = EncoderClient(address)
    waits = [(await client.encode(mel.features, mel.num_frames, timeout_seconds=60)).wait_ms for _ in range(LONE_CALLS)]
    await client.close()
    return statistics.median(waits)


def measure(model: str = "auricle-mini", threads: int = 2, rounds: int = 5) -> EncoderReport:
    """Both comparisons."""
    torch.set_num_threads(threads)
    checkpoint = resolve_checkpoint(model)
    encoder, reference = load_audio_encoder(checkpoint), Reference(checkpoint)
    padding = [padding_row(encoder, reference, seconds, rounds) for seconds in CLIP_SECONDS]
    mel = log_mel(synthetic_clip(TRITON_CLIP_SECONDS), encoder.mel_bins)
    triton, overhead_ms = [], 0.0
    with tempfile.TemporaryDirectory() as directory:
        repository = Path(directory) / "repository"
        publish(checkpoint, repository)
        for batch in TRITON_BATCHES:
            EncoderRepository(repository).write_config(EncoderSettings(max_batch_size=batch))
            with running_triton(repository, Path(directory), threads=threads) as server:
                triton.append(triton_row(server, encoder, mel, batch, rounds))
                overhead_ms = asyncio.run(lone_call_overhead_ms(server.grpc_address, mel))
    return EncoderReport(model, threads, rounds, padding, triton, overhead_ms)


def print_report(report: EncoderReport) -> None:
    """Both tables as text."""
    print(f"{report.model}, {report.threads} threads, medians of {report.rounds} rounds")
    print(f"{'clip s':>8}{'ragged clips/s':>18}{'padded clips/s':>18}{'x real time':>14}{'ratio':>8}")
    for row in report.padding:
        rates = f"{row.ragged_clips_per_second:>18.2f}{row.padded_clips_per_second:>18.2f}"
        print(f"{row.clip_seconds:>8g}{rates}{row.ragged_times_real_time:>14.0f}{row.ratio:>8.2f}")
    print(f"{'batch':>8}{'Triton clips/s':>18}{'in-process clips/s':>20}{'formed':>12}{'ratio':>8}")
    for line in report.triton:
        rates = f"{line.triton_clips_per_second:>18.2f}{line.in_process_clips_per_second:>20.2f}"
        print(f"{line.batch:>8}{rates}{line.mean_batch_formed:>12.1f}{line.ratio:>8.2f}")
    print(f"a lone call to Triton takes {report.lone_call_overhead_ms:.1f} ms besides the computing")


def main() -> None:
    """Print the report, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="auricle-mini", help="a name, a checkpoint directory or a hub id")
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
