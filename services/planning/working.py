"""What holds requests while the other services work on them: gateways, and the workers of jobs."""

from __future__ import annotations

from collections import deque

from simpy import Environment, Event


class Holder:
    """A gateway or a worker; `calls` are the requests in its hands."""

    def __init__(self) -> None:
        self.calls = 0


class UnitQueue:
    """Units of jobs that wait for a worker's hands."""

    def __init__(self, env: Environment, units_of_a_worker: int) -> None:
        self._env = env
        self._units = units_of_a_worker
        self._waiting: deque[Event] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self) -> Event:
        """Comes with the worker that has taken the unit."""
        turn = self._env.event()
        self._waiting.append(turn)
        return turn

    def hand_out(self, workers: list[Holder]) -> None:
        """Give units to workers that have hands free."""
        for worker in workers:
            while self._waiting and worker.calls < self._units:
                worker.calls += 1
                self._waiting.popleft().succeed(worker)
