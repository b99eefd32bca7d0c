"""The replicas of one service: who gets a call, who starts, who drains, and what their hours add up to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Generic, Protocol, TypeVar

from simpy import Environment

# As services/pipeline/replicas.py has it.
LOAD_FACTOR = 1.25
_DRAIN_LOOK_SECONDS = 5.0


class Replica(Protocol):
    """What every replica tells."""

    @property
    def calls(self) -> int: ...


ReplicaT = TypeVar("ReplicaT", bound=Replica)


@dataclass(eq=False, slots=True)
class Pod(Generic[ReplicaT]):
    """A replica and when it was made; `serves` once it has started."""

    replica: ReplicaT
    born: float
    serves: bool


class Fleet(Generic[ReplicaT]):
    """Replicas that come and go.

    Args:
        make: makes one.
        start_seconds: from its making to its first call.
        count: how many there are, started, at the beginning.

    Attributes:
        history: times and the number of replicas from then on, starting ones included.
    """

    def __init__(
        self, env: Environment, make: Callable[[], ReplicaT], start_seconds: float, count: int, random: Random
    ) -> None:
        self._env, self._make, self._start_seconds, self._random = env, make, start_seconds, random
        self._pods: list[Pod[ReplicaT]] = [Pod(make(), env.now, True) for _ in range(count)]
        self._draining: list[Pod[ReplicaT]] = []
        self._spent_seconds = 0.0
        self.history: list[tuple[float, int]] = [(env.now, count)]

    @property
    def count(self) -> int:
        """Replicas that there are, starting ones included and leaving ones not."""
        return len(self._pods)

    @property
    def serving(self) -> list[ReplicaT]:
        """Those that answer calls."""
        return [pod.replica for pod in self._pods if pod.serves]

    @property
    def everybody(self) -> list[ReplicaT]:
        """Those that may have calls: serving and draining ones."""
        return self.serving + [pod.replica for pod in self._draining]

    def by_calls(self) -> list[ReplicaT]:
        """The one with the fewest calls first."""
        serving = self._shuffled()
        return sorted(serving, key=lambda replica: replica.calls)

    def by_affinity(self) -> list[ReplicaT]:
        """In the random order of a new conversation; replicas with more than their share of calls come last."""
        serving = self._shuffled()
        share = math.ceil(LOAD_FACTOR * (sum(r.calls for r in serving) + 1) / max(len(serving), 1))
        return sorted(serving, key=lambda replica: replica.calls >= share)

    def _shuffled(self) -> list[ReplicaT]:
        serving = self.serving
        if len(serving) > 1:
            self._random.shuffle(serving)
        return serving

    def resize(self, count: int) -> None:
        """Make or dismiss replicas: those that have not started first, then the youngest."""
        if count == self.count:
            return
        for _ in range(count - self.count):
            pod = Pod(self._make(), self._env.now, False)
            self._pods.append(pod)
            self._env.timeout(self._start_seconds).callbacks.append(partial(self._started, pod))
        for _ in range(self.count - count):
            pod = min(self._pods, key=lambda pod: (pod.serves, -pod.born))
            self._pods.remove(pod)
            self._draining.append(pod)
            self._drain(pod)
        self.history.append((self._env.now, count))

    def replica_seconds(self) -> float:
        """Seconds that all replicas have been there, starting and draining ones too."""
        return self._spent_seconds + sum(self._env.now - pod.born for pod in (*self._pods, *self._draining))

    def _started(self, pod: Pod[ReplicaT], _: object) -> None:
        pod.serves = True

    def _drain(self, pod: Pod[ReplicaT]) -> None:
        """Gone once its calls have ended."""
        if pod.replica.calls:
            self._env.timeout(_DRAIN_LOOK_SECONDS).callbacks.append(lambda _: self._drain(pod))
            return
        self._draining.remove(pod)
        self._spent_seconds += self._env.now - pod.born
