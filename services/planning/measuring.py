"""Measures a running platform's service times through the SDK, by the timings that every answer carries.

Questions alone show what a clip, a prompt and a token cost; bursts of questions at once show what company costs. The
platform should have one replica of each service and nothing else to do. Every clip is new, so no cache helps.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle import Answer, AsyncClient
from services.planning.errors import PlanningError
from services.planning.fitting import Fit, fit
from services.planning.profile import DecoderTimes, EncoderTimes, PreprocessTimes, Profile

SAMPLE_RATE_HZ = 16_000
QUESTION = "Describe in detail everything that you can hear in this recording."
Clip = NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """How the measuring goes: lengths of clips asked about alone and how often, sizes of bursts, tokens of answers."""

    clip_seconds: tuple[float, ...] = (1.0, 5.0, 15.0, 29.0)
    rounds: int = 4
    bursts: tuple[int, ...] = (2, 4, 8)
    burst_seconds: tuple[float, ...] = (2.0, 20.0)
    answer_tokens: int = 32

    @property
    def steps(self) -> int:
        """Questions and bursts, for a progress bar."""
        return 1 + 2 * self.rounds * len(self.clip_seconds) + len(self.bursts) * len(self.burst_seconds)


@dataclass(frozen=True)
class Heard:
    """A question as its asker saw it: the answer, when each text came and when all was over, in seconds."""

    answer: Answer
    audio_seconds: float
    began: float
    texts: tuple[float, ...]
    ended: float

    def timing(self, service: str) -> tuple[float, float]:
        """Wall and computing milliseconds in a service."""
        found = next((t for t in self.answer.usage.timings if t.service == service), None)
        if found is None or not found.compute_ms:
            raise PlanningError(f"the platform does not tell the time spent in {service}")
        return found.wall_ms, found.compute_ms


async def measure(client: AsyncClient, trial: Trial, on_step: Callable[[], None] = lambda: None) -> Profile:
    """Ask, and fit a profile.

    Raises:
        PlanningError: the answers are too short or lack timings.
        AuricleError: the platform refused or failed a question.
    """
    random = np.random.default_rng(time.time_ns())
    model = (await client.model()).model
    await _ask(client, _noise(random, 2.0), 2)
    on_step()
    alone, bursts = [], []
    for _ in range(trial.rounds):
        for seconds in trial.clip_seconds:
            for tokens in (1, trial.answer_tokens):
                alone.append(await _ask(client, _noise(random, seconds), tokens))
                on_step()
    for size in trial.bursts:
        for seconds in trial.burst_seconds:
            clips = [_noise(random, seconds) for _ in range(size)]
            bursts.append(await asyncio.gather(*(_ask(client, clip, trial.answer_tokens) for clip in clips)))
            on_step()
    return profile_of(model, alone, bursts)


def profile_of(model: str, alone: Sequence[Heard], bursts: Sequence[Sequence[Heard]]) -> Profile:
    """The service times that explain the answers."""
    usages = [heard.answer.usage for heard in alone]
    text_tokens = round(statistics.median(usage.prompt_tokens - usage.audio_tokens for usage in usages))
    per_second = sum(usage.audio_tokens for usage in usages) / sum(heard.audio_seconds for heard in alone)
    walls = [sum(heard.timing(s)[0] for s in ("preprocess", "encoder", "decoder")) for heard in alone]
    rest = [1000 * (heard.ended - heard.began) - wall for heard, wall in zip(alone, walls, strict=True)]
    return Profile(
        model=model,
        origin=f"auricle plan profile, {date.today().isoformat()}",
        gateway_ms=round(max(statistics.median(rest), 0.0), 3),
        text_tokens=text_tokens,
        tokens_per_second=round(per_second, 3),
        preprocess=_preprocess(alone),
        encoder=_encoder(alone, bursts),
        decoder=_decoder(alone, bursts),
    )


def _preprocess(alone: Sequence[Heard]) -> PreprocessTimes:
    found = fit([(1, heard.audio_seconds) for heard in alone], [heard.timing("preprocess")[1] for heard in alone])
    return PreprocessTimes(**_named(found, "recording_ms", "second_ms"), call_ms=_call_ms(alone, "preprocess"))


def _encoder(alone: Sequence[Heard], bursts: Sequence[Sequence[Heard]]) -> EncoderTimes:
    """Clips of one batch are told the same computing time, to the last bit."""
    parts, times = [], []
    for group in [*([heard] for heard in alone), *bursts]:
        batches = Counter(heard.timing("encoder")[1] for heard in group)
        for compute_ms, clips in batches.items():
            parts.append((1, clips, clips * group[0].audio_seconds))
            times.append(compute_ms)
    found = fit(parts, times)
    return EncoderTimes(**_named(found, "batch_ms", "clip_ms", "second_ms"), call_ms=_call_ms(alone, "encoder"))


def _decoder(alone: Sequence[Heard], bursts: Sequence[Sequence[Heard]]) -> DecoderTimes:
    parts, times = [], []
    for heard in alone:
        prompt, answer = heard.answer.usage.prompt_tokens, heard.answer.usage.output_tokens
        steps = answer - 1
        parts.append((1 + steps, steps, prompt, steps * (prompt + steps / 2)))
        times.append(heard.timing("decoder")[1])
    for burst in bursts:
        pause_ms = _pause_ms(burst)
        if pause_ms is not None:
            context = sum(h.answer.usage.prompt_tokens + h.answer.usage.output_tokens / 2 for h in burst)
            parts.append((1, len(burst), 0, context))
            times.append(pause_ms)
    found = fit(parts, times)
    names = ("step_ms", "sequence_ms", "prompt_token_ms", "context_token_ms")
    return DecoderTimes(**_named(found, *names), call_ms=_call_ms(alone, "decoder"))


def _pause_ms(burst: Sequence[Heard]) -> float | None:
    """From one token to the next while all answers of a burst are decoded; None when they hardly overlap."""
    begin, end = max(heard.texts[0] for heard in burst), min(heard.texts[-1] for heard in burst)
    pauses = []
    for heard in burst:
        texts = [at for at in heard.texts if begin <= at <= end]
        pauses += [1000 * (later - sooner) for sooner, later in pairwise(texts)]
    return statistics.median(pauses) if len(pauses) >= 3 * len(burst) else None


def _call_ms(alone: Sequence[Heard], service: str) -> float:
    return round(max(0.0, statistics.median(w - c for w, c in (h.timing(service) for h in alone))), 3)


def _named(found: Fit, *names: str) -> dict[str, float]:
    values = {name: round(value, 6) for name, value in zip(names, found.coefficients, strict=True)}
    return {**values, "spread": round(found.spread, 3)}


async def _ask(client: AsyncClient, clip: Clip, tokens: int) -> Heard:
    content: list[dict[str, Any]] = [{"type": "audio", "audio": clip}, {"type": "text", "text": QUESTION}]
    began = time.perf_counter()
    texts = []
    async with client.stream_chat(content, max_output_tokens=tokens) as stream:
        async for _ in stream:
            texts.append(time.perf_counter())
    ended = time.perf_counter()
    return Heard(stream.answer, len(clip) / SAMPLE_RATE_HZ, began, tuple(texts or [ended]), ended)


def _noise(random: np.random.Generator, seconds: float) -> Clip:
    """Something to hear that nobody heard before: a tone in noise."""
    at = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tone = 0.2 * np.sin(2 * np.pi * random.uniform(100, 2000) * at)
    clip: Clip = (tone + 0.05 * random.standard_normal(at.size)).astype(np.float32)
    return clip
