"""A device that works: alone on one task, or shared by several that then all go slower."""

from __future__ import annotations

from simpy import Environment, Event

# Below it work is done: far less than anything that is measured, far more than rounding leaves.
_NOTHING = 1e-9


class Task:
    """A piece of work; `done` comes when it is finished.

    Attributes:
        work: seconds that it takes at full speed.
        left: of them, still to do when the processor last looked.
    """

    def __init__(self, env: Environment, work: float, threads: float) -> None:
        self.work = self.left = work
        self.threads = threads
        self.done: Event = env.event()


class Processor:
    """Processor sharing: while its tasks have more threads than it has cores, each gets its share.

    Args:
        cores: None for a device that no two tasks hinder each other on.
    """

    def __init__(self, env: Environment, cores: float | None = None) -> None:
        self._env = env
        self._cores = cores
        self._tasks: list[Task] = []
        self._speed = 1.0
        self._seen = env.now
        self._plan = 0

    def run(self, work: float, threads: float = 1) -> Task:
        """Begin a task of so many seconds at full speed."""
        task = Task(self._env, work, threads)
        self._look()
        self._tasks.append(task)
        self._replan()
        return task

    def progress(self, task: Task) -> float:
        """Seconds of work done of a task that runs."""
        self._look()
        return task.work - max(task.left, 0.0)

    def shorten(self, task: Task, work: float) -> None:
        """Let a running task end when `work` seconds of it are done."""
        self._look()
        task.left -= task.work - work
        task.work = work
        self._replan()

    def _look(self) -> None:
        """Note what has been done until now."""
        passed = (self._env.now - self._seen) * self._speed
        self._seen = self._env.now
        for task in self._tasks:
            task.left -= passed

    def _replan(self) -> None:
        if not self._tasks:
            return
        threads = sum(task.threads for task in self._tasks)
        self._speed = 1.0 if self._cores is None else min(1.0, self._cores / threads)
        self._plan += 1
        plan = self._plan
        wait = max(min(task.left for task in self._tasks), 0.0) / self._speed
        self._env.timeout(wait).callbacks.append(lambda _: self._wake(plan))

    def _wake(self, plan: int) -> None:
        if plan != self._plan:
            return  # something has changed since this was planned
        self._look()
        finished = [task for task in self._tasks if task.left <= _NOTHING]
        self._tasks = [task for task in self._tasks if task.left > _NOTHING]
        self._replan()
        for task in finished:
            task.done.succeed()
