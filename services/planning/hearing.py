"""One preprocess: so many recordings at once on its processors, a queue with a longest wait (`preprocess/pool.py`)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from simpy import Environment, Resource

from services.planning.chart import Limits
from services.planning.processor import Processor
from services.planning.profile import PreprocessTimes


class PreprocessReplica:
    """Places for recordings.

    Attributes:
        calls: recordings that are here.
    """

    def __init__(
        self,
        env: Environment,
        processor: Processor,
        times: PreprocessTimes,
        limits: Limits,
        noise: Callable[[float], float],
    ) -> None:
        self._env, self._processor = env, processor
        self._times, self._limits, self._noise = times, limits, noise
        self._places = Resource(env, limits.recordings)
        self.calls = 0

    @property
    def busy(self) -> int:
        """Recordings that are heard now."""
        return self._places.count

    def hear(self, audio_seconds: float) -> Generator[Any, Any, bool]:
        """Ends when the recording is heard; False when there was no room, or none in time."""
        if len(self._places.queue) >= self._limits.recordings_waiting:
            return False
        self.calls += 1
        try:
            with self._places.request() as place:
                yield place | self._env.timeout(self._limits.recordings_wait_seconds)
                if not place.triggered:
                    return False
                seconds = self._times.seconds(audio_seconds) * self._noise(self._times.spread)
                yield self._processor.run(seconds).done
        finally:
            self.calls -= 1
        return True
