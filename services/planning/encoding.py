"""One Triton: clips wait together and are encoded in batches (`model_repo/audio_encoder/config.pbtxt.template`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from simpy import Environment, Event

from services.planning.chart import Limits
from services.planning.processor import Processor
from services.planning.profile import EncoderTimes


@dataclass(slots=True)
class Clip:
    """A clip on its way through Triton."""

    audio_seconds: float
    since: float
    done: Event


class EncoderReplica:
    """The dynamic batcher and its instances.

    Attributes:
        calls: clips that are here.
        clip_seconds: time that clips which have left spent here, summed: what Triton's duration counters count.
    """

    def __init__(
        self,
        env: Environment,
        processor: Processor,
        threads: float,
        times: EncoderTimes,
        limits: Limits,
        noise: Callable[[float], float],
    ) -> None:
        self._env, self._processor, self._threads = env, processor, threads
        self._times, self._limits, self._noise = times, limits, noise
        self._waiting: deque[Clip] = deque()
        self._idle = limits.instances
        self.calls = 0
        self.clip_seconds = 0.0

    @property
    def pending(self) -> int:
        """Clips that wait."""
        return len(self._waiting)

    def encode(self, audio_seconds: float) -> Event | None:
        """Comes when the clip is encoded; None when the queue is full."""
        if len(self._waiting) >= self._limits.clips_waiting:
            return None
        clip = Clip(audio_seconds, self._env.now, self._env.event())
        self._waiting.append(clip)
        self.calls += 1
        self._start()
        return clip.done

    def _start(self) -> None:
        """Give batches to idle instances; one that is not full may wait a moment for company."""
        while self._idle and self._waiting:
            ready_at = self._waiting[0].since + self._limits.batch_delay_us / 1e6
            if len(self._waiting) < self._limits.batch_clips and self._env.now < ready_at:
                self._env.timeout(ready_at - self._env.now).callbacks.append(lambda _: self._start())
                return
            size = min(len(self._waiting), self._limits.batch_clips)
            self._run([self._waiting.popleft() for _ in range(size)])

    def _run(self, batch: list[Clip]) -> None:
        self._idle -= 1
        seconds = self._times.seconds(len(batch), sum(clip.audio_seconds for clip in batch))
        task = self._processor.run(seconds * self._noise(self._times.spread), self._threads)
        task.done.callbacks.append(lambda _: self._finish(batch))

    def _finish(self, batch: list[Clip]) -> None:
        self._idle += 1
        self.calls -= len(batch)
        for clip in batch:
            self.clip_seconds += self._env.now - clip.since
            clip.done.succeed()
        self._start()
