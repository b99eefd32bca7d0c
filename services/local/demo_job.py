"""The part of `make demo` that hands in a long recording as a job: its timeline and its subtitles."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from rich.console import Console
from rich.table import Table

from auricle import Client, Job
from auricle.cli._job_bar import job_bar

RATE_HZ = 16_000
# With the pause at its end an event is as long as the longest window, so that windows hold one event each.
EVENT_SECONDS = 28.0
PAUSE_SECONDS = 2.0
# (what is heard, the samples that it is made of)
EVENTS: Sequence[tuple[str, Sequence[str]]] = (
    ("speech", ("sentence.wav", "question.flac")),
    ("music", ("music.m4a",)),
    ("silence", ()),
    ("sound", ("sound.mp3",)),
    ("speech", ("question.flac", "sentence.wav")),
    ("music", ("music.m4a",)),
    ("silence", ()),
)


@dataclass(frozen=True)
class Event:
    """What is heard in a stretch of the recording, in seconds."""

    label: str
    start_seconds: float
    end_seconds: float


def recording(samples: Path) -> tuple[np.ndarray, list[Event]]:
    """Several minutes put together from the sample recordings, int16 at 16 kHz, and what stands where in it."""
    blocks: list[np.ndarray] = []
    events = []
    for number, (label, files) in enumerate(EVENTS):
        start = number * (EVENT_SECONDS + PAUSE_SECONDS)
        blocks += [_filled([_samples(samples / file) for file in files]), np.zeros(_count(PAUSE_SECONDS), np.int16)]
        events.append(Event(label, start, start + EVENT_SECONDS))
    return np.concatenate(blocks), events


def show_job(client: Client, console: Console, samples: Path, subtitles: Path) -> None:
    """Segment and transcribe the recording as jobs; print the timeline beside the truth, and the subtitle file."""
    sound, events = recording(samples)
    minutes = len(sound) / RATE_HZ / 60
    console.print(f"\n[bold]A recording of {minutes:.1f} minutes as jobs[/bold], made from the samples")
    timeline = _ended(client.jobs.create(sound, task="segment", labels={"from": "demo"}))
    table = Table("from", "to", "the recording holds", "the job heard", box=None, padding=(0, 2))
    segments = timeline.result().segments
    for event in events:
        heard = [s for s in segments if s.start_seconds < event.end_seconds and s.end_seconds > event.start_seconds]
        told = ", ".join(f"{s.label} {s.start_seconds:.0f}-{s.end_seconds:.0f} s" for s in heard)
        table.add_row(f"{event.start_seconds:.0f} s", f"{event.end_seconds:.0f} s", event.label, told)
    console.print(table)
    transcript = _ended(client.jobs.create(sound, task="transcribe", labels={"from": "demo"}))
    result = transcript.result("srt")
    subtitles.write_text(result.file or "", encoding="utf-8")
    windows = transcript.progress.windows
    console.print(f"\n{subtitles} ({result.cached_windows} of {windows} windows had their embeddings in the cache):\n")
    console.print(result.file, markup=False, highlight=False)


def _ended(job: Job) -> Job:
    with job_bar(job.task) as show:
        for update in job.watch():
            job = update.job
            show(job)
    return job


def _filled(sounds: Sequence[np.ndarray]) -> np.ndarray:
    """The sounds one after the other, with half a second between them, as often as they fit the event."""
    silence = np.zeros(_count(EVENT_SECONDS), np.int16)
    if not sounds:
        return silence
    gap = np.zeros(_count(0.5), np.int16)
    once = np.concatenate([part for sound in sounds for part in (sound, gap)])
    many = np.tile(once, len(silence) // len(once))
    return np.concatenate([many, silence])[: len(silence)]


def _count(seconds: float) -> int:
    return round(seconds * RATE_HZ)


def _samples(path: Path) -> np.ndarray:
    resampler = av.AudioResampler("s16", "mono", RATE_HZ)
    with av.open(str(path)) as container:
        frames = [ready for frame in container.decode(audio=0) for ready in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])
