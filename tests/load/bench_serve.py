"""The whole platform under load through the SDK: closed loop (N callers) or open loop (Poisson arrivals).

    python -m tests.load.bench_serve --closed 1 4 8 --open 0.5 1

Every question carries a clip of its own, so nothing is cached. A question meets the objective (SLO) when its first
text comes in time and the texts after it come, on average, no slower than stated; goodput counts those alone. In an
open loop callers do not wait for each other, and a question that is refused or fails counts as missed.

With --peers the closed loads are then asked of transformers' whole model and of vLLM, on the same weights, clips and
threads, in the same run. Neither has a server in between: transformers pads each clip to 30 s and answers as many
questions in a batch as there are callers, who wait for each other; vLLM takes prompt embeddings, which transformers'
audio tower makes beside it. Their "first text" is their first token.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auricle import AsyncClient, AuricleError
from services.qwen2_audio.export import export_decoder
from services.qwen2_audio.resolve import resolve_checkpoint
from services.qwen2_audio.weights import Checkpoint
from tests.load import figures
from tests.load.peers.side import Side, whole_sides
from tests.platform import running_platform
from tests.prompts import audio, text

MODEL = "auricle-mini"
THREADS = 2  # of the platform's decoder, and of every peer
QUESTION = "What do you hear? Describe it."


@dataclass(frozen=True)
class Sample:
    """One question: milliseconds to its first text, between two texts, to its end; what it gave."""

    first_text_ms: float
    between_texts_ms: float
    total_ms: float
    output_tokens: int
    error: str = ""


@dataclass(frozen=True)
class Load:
    """How questions come, and what a good answer is.

    Attributes:
        callers: so many callers ask one question after the other; 0 for an open loop.
        per_second: mean arrivals in an open loop.
        questions: how many in all.
        clip_seconds: length of each clip.
        output_tokens: most tokens of an answer.
        slo_first_ms: latest first text of a good answer.
        slo_between_ms: longest mean time between its texts.
    """

    callers: int
    per_second: float
    questions: int
    clip_seconds: float
    output_tokens: int
    slo_first_ms: float
    slo_between_ms: float

    def is_met(self, sample: Sample) -> bool:
        """True for an answer that keeps the objective."""
        in_time = sample.first_text_ms <= self.slo_first_ms and sample.between_texts_ms <= self.slo_between_ms
        return not sample.error and in_time


async def ask(client: AsyncClient, load: Load, seed: int) -> Sample:
    """Ask one question and read the answer."""
    content = [audio(load.clip_seconds, seed), text(QUESTION)]
    start = time.perf_counter()
    arrivals: list[float] = []
    try:
        async with client.stream_chat(content, max_output_tokens=load.output_tokens) as stream:
            async for _ in stream:
                arrivals.append(1000 * (time.perf_counter() - start))
        tokens = stream.answer.usage.output_tokens
    except AuricleError as error:
        return Sample(0, 0, 1000 * (time.perf_counter() - start), 0, type(error).__name__)
    return sample_of(arrivals, 1000 * (time.perf_counter() - start), tokens)


def sample_of(arrivals: list[float], total_ms: float, tokens: int) -> Sample:
    """What the times of an answer's texts, in ms since the question, say."""
    first = arrivals[0] if arrivals else total_ms
    between = (arrivals[-1] - first) / (len(arrivals) - 1) if len(arrivals) > 1 else 0.0
    return Sample(first, between, total_ms, tokens)


async def closed_loop(load: Load, question: Callable[[int], Awaitable[Sample]]) -> list[Sample]:
    """Each caller asks its share, one question after the other."""

    async def caller(number: int) -> list[Sample]:
        return [await question(seed) for seed in range(number, load.questions, load.callers)]

    return [sample for share in await asyncio.gather(*map(caller, range(load.callers))) for sample in share]


async def open_loop(load: Load, question: Callable[[int], Awaitable[Sample]]) -> list[Sample]:
    """Questions at random times that no answer holds up; the times are the same in every run."""
    pauses = np.random.default_rng(0).exponential(1 / load.per_second, load.questions)

    async def later(seed: int, seconds: float) -> Sample:
        await asyncio.sleep(seconds)
        return await question(seed)

    return list(await asyncio.gather(*(later(seed, at) for seed, at in enumerate(pauses.cumsum()))))


def report(side: str, load: Load, samples: list[Sample], seconds: float) -> dict[str, Any]:
    """Figures of one load, printed, and its raw samples; quantiles are over answers that came."""
    answered = [sample for sample in samples if not sample.error]
    told: dict[str, Any] = {
        "side": side,
        "load": f"{load.callers} callers" if load.callers else f"{load.per_second:g} a second",
        "answered": len(answered),
        "failed": len(samples) - len(answered),
        "questions_per_second": round(len(answered) / seconds, 3),
        "goodput_per_second": round(sum(map(load.is_met, samples)) / seconds, 3),
        "audio_seconds_per_second": round(len(answered) * load.clip_seconds / seconds, 2),
        "tokens_per_second": round(sum(sample.output_tokens for sample in answered) / seconds, 1),
    }
    for name in ("first_text_ms", "between_texts_ms", "total_ms"):
        values = [getattr(sample, name) for sample in answered] or [float("nan")]
        told[name] = {f"p{q}": round(float(np.percentile(values, q)), 1) for q in (50, 95, 99)}
    print(json.dumps(told), flush=True)
    return {"settings": asdict(load), "figures": told, "samples": [asdict(sample) for sample in samples]}


async def measure(address: str, loads: list[Load]) -> list[dict[str, Any]]:
    """Run the loads one after the other, each on clips that none before it had."""
    results = []
    async with AsyncClient(address) as client:
        await ask(client, loads[0], 10**6)
        for number, load in enumerate(loads):

            async def question(seed: int, load: Load = load, number: int = number) -> Sample:
                return await ask(client, load, seed + 1000 * number)

            start = time.perf_counter()
            samples = await (closed_loop if load.callers else open_loop)(load, question)
            results.append(report("platform", load, samples, time.perf_counter() - start))
    return results


def measure_peers(sides: list[Side], loads: list[Load]) -> list[dict[str, Any]]:
    """The closed loads, on the clips that the platform had; every side first answers one question to warm up."""
    results = []
    with figures.running(sides, THREADS) as running:
        for side in running:
            converse(side, loads[0], [10**6])
        for number, load in enumerate(loads):
            if load.callers:
                seeds = [seed + 1000 * number for seed in range(load.questions)]
                results += [report(side.name, load, *converse(side, load, seeds)) for side in running]
    return results


def converse(side: Side, load: Load, seeds: list[int]) -> tuple[list[Sample], float]:
    """Ask a side about clips; its answers, and the seconds of all."""
    told = side.ask(
        op="converse",
        seeds=seeds,
        clip_seconds=load.clip_seconds,
        question=QUESTION,
        callers=max(1, load.callers),
        tokens=load.output_tokens,
    )
    samples = []
    for answer in told["answers"]:
        arrivals = [1000 * at for at in answer["arrivals"]]
        samples.append(sample_of(arrivals, arrivals[-1], answer["tokens"]))
    return samples, told["seconds"]


def plot(results: list[dict[str, Any]], file: Path) -> None:
    """Every question's time to its first text, sorted, one line for each load."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for result in results:
        times = sorted(sample["first_text_ms"] for sample in result["samples"] if not sample["error"])
        axes.step(
            times,
            np.arange(1, len(times) + 1) / len(result["samples"]),
            label=f"{result['figures']['side']}, {result['figures']['load']}",
        )
    axes.set(xlabel="first text, ms", ylabel="share of questions", ylim=(0, 1))
    axes.legend()
    figure.savefig(file, bbox_inches="tight")


def main() -> None:
    """Start a platform, run the loads, then the peers; with --json also the raw samples and a plot beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--closed", type=int, nargs="*", default=[1, 4, 8], help="numbers of callers")
    parser.add_argument("--open", type=float, nargs="*", default=[0.5, 1.0], help="arrivals a second")
    parser.add_argument("--questions", type=int, default=40, help="of each load")
    parser.add_argument("--clip-seconds", type=float, default=5.0)
    parser.add_argument("--output-tokens", type=int, default=32)
    parser.add_argument("--slo-first-ms", type=float, default=1500.0)
    parser.add_argument("--slo-between-ms", type=float, default=200.0)
    parser.add_argument("--weights", default="full", help="AURICLE_DECODER_WEIGHTS of the platform")
    parser.add_argument("--peers", action="store_true", help="ask the closed loads of transformers and vLLM too")
    parser.add_argument("--vllm-eager", action="store_true", help="vLLM without torch.compile")
    parser.add_argument("--json", type=Path, help="file for figures and raw samples")
    given = parser.parse_args()
    shared = (given.questions, given.clip_seconds, given.output_tokens, given.slo_first_ms, given.slo_between_ms)
    loads = [Load(callers, 0.0, *shared) for callers in given.closed]
    loads += [Load(0, per_second, *shared) for per_second in given.open]
    weights = {"AURICLE_DECODER_WEIGHTS": given.weights}
    with tempfile.TemporaryDirectory() as home, running_platform(MODEL, Path(home), **weights) as platform:
        results = asyncio.run(measure(platform.address, loads))
    if given.peers:
        checkpoint = Checkpoint(resolve_checkpoint(MODEL))
        plain = export_decoder(checkpoint, Path("~/.cache/auricle/plain"))
        sides = whole_sides(checkpoint.path, plain, ["--eager"] if given.vllm_eager else [])
        results += measure_peers(sides, loads)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=2))
        plot(results, given.json.with_suffix(".svg"))


if __name__ == "__main__":
    main()
