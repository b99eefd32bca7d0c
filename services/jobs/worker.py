"""A Celery worker whose tasks run on one event loop.

Tasks compute nothing themselves: they wait for the services. So they run in Celery's threads, and all of them share the
event loop, the channels and the connections of the process.
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from celery import Celery, signals
from celery.beat import EmbeddedService
from celery.utils.nodenames import nodename

from services.common import telemetry
from services.common.errors import Unavailable
from services.jobs.parts import Parts, build
from services.jobs.settings import WorkerSettings
from services.jobs.upkeep import clean, look_after, sweep
from services.jobs.work import work
from services.jobstore.dispatch import (
    CLEAN_TASK,
    DELIVER_TASK,
    LOOK_AFTER_TASK,
    SWEEP_TASK,
    UPKEEP_QUEUE,
    WORK_TASK,
    Dispatcher,
    celery_app,
)
from services.jobstore.model import JobRecord, Unit
from services.jobstore.workers import Worker, say_present, stay_present


class Runtime:
    """The event loop of a worker, in a thread of its own, with the parts that live on it."""

    def __init__(self, settings: WorkerSettings, dispatcher: Dispatcher) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._loop = asyncio.new_event_loop()
        self._parts: Parts
        self._close: Callable[[], Awaitable[None]]
        self._presence: asyncio.Task[None] | None = None
        threading.Thread(target=self._loop.run_forever, name="loop", daemon=True).start()

    def start(self) -> None:
        """Make the parts."""

        async def make() -> None:
            self._parts, self._close = build(self._settings)

        self.run(make())

    def present(self, worker: Worker) -> None:
        """From now on the worker is known to be there."""

        async def begin() -> None:
            with suppress(Unavailable):
                await say_present(self._parts.records, worker)
            self._presence = asyncio.create_task(stay_present(self._parts.records, worker))

        self.run(begin())

    def stop(self) -> None:
        """Take leave and close the parts."""

        async def end() -> None:
            if self._presence:
                self._presence.cancel()
                await asyncio.gather(self._presence, return_exceptions=True)
            await self._close()

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def run(self, doing: Coroutine[Any, Any, Any] | Awaitable[Any]) -> Any:
        """Wait for a coroutine that runs on the loop."""
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result()  # type: ignore[arg-type]

    def work(self, unit: Unit) -> None:
        """Do a unit."""
        self.run(work(self._parts, unit, self._announce))

    def look_after(self) -> None:
        """Announce overdue units."""
        self.run(look_after(self._parts, self._announce))

    def clean(self) -> None:
        """Remove what is over."""
        self.run(clean(self._parts))

    def sweep(self) -> None:
        """Remove what belongs to no job."""
        self.run(sweep(self._parts, self._settings.sweep_seconds))

    def deliver(self) -> None:
        """Begin to tell webhooks what is due."""
        self.run(self._parts.webhooks.deliver_due())

    async def _announce(self, units: list[Unit], record: JobRecord) -> None:
        if units:
            await asyncio.to_thread(self._dispatcher.send, units, record.job.priority)


def worker_app(settings: WorkerSettings) -> tuple[Celery, Runtime]:
    """The Celery application with its tasks, and what they run on."""
    app = celery_app(settings.redis_url, visibility_timeout_seconds=settings.visibility_timeout_seconds)
    runtime = Runtime(settings, Dispatcher(app))

    @app.task(name=WORK_TASK)
    def work_task(unit: str) -> None:
        runtime.work(Unit.parse(unit))

    @app.task(name=LOOK_AFTER_TASK)
    def look_after_task() -> None:
        runtime.look_after()

    @app.task(name=CLEAN_TASK)
    def clean_task() -> None:
        runtime.clean()

    @app.task(name=SWEEP_TASK)
    def sweep_task() -> None:
        runtime.sweep()

    @app.task(name=DELIVER_TASK)
    def deliver_task() -> None:
        runtime.deliver()

    # A worker that was away must not do all the upkeep that it missed.
    app.conf.beat_schedule = {
        task: {
            "task": task,
            "schedule": seconds,
            "options": {"queue": UPKEEP_QUEUE, "expires": seconds, "priority": 0},
        }
        for task, seconds in (
            (LOOK_AFTER_TASK, settings.look_after_seconds),
            (CLEAN_TASK, settings.clean_seconds),
            (SWEEP_TASK, settings.sweep_seconds),
            (DELIVER_TASK, settings.webhook_seconds),
        )
    }
    return app, runtime


def run(
    settings: WorkerSettings, queues: Sequence[str], *, with_beat: bool, name: str, on_ready: Callable[[], object]
) -> int:
    """Work until SIGTERM; units in flight are finished first. Returns the exit code.

    It is not 0 when Celery gave up, which an outage of Redis at a bad moment brings about (kombu cannot always close a
    broken connection). Whoever started the process is to start it again; nothing is lost by it.

    Args:
        settings: see WorkerSettings.
        queues: which kinds of work to do.
        with_beat: run Celery beat too, in a thread: a process of its own would outlive a worker that is killed.
        name: of this worker, for Celery's tools.
        on_ready: called when it takes from its queues and is known to be there.
    """
    app, runtime = worker_app(settings)
    node = nodename(name, socket.gethostname())
    runtime.start()
    beat = EmbeddedService(app, thread=True, scheduler_cls="celery.beat:Scheduler") if with_beat else None
    telemetry.logger().info("serving", queues=list(queues), concurrency=settings.concurrency)
    try:
        worker = app.Worker(
            pool="threads",
            concurrency=settings.concurrency,
            queues=list(queues),
            hostname=node,
            quiet=True,
            loglevel="WARNING",
            without_gossip=True,
            without_mingle=True,
        )
        if beat:
            beat.start()

        # Signals hold their receivers weakly; this one lives as long as the worker runs.
        @signals.worker_ready.connect
        def ready(**_: object) -> None:
            runtime.present(Worker(node, frozenset(queues)))
            on_ready()

        worker.start()
        return worker.exitcode or 0
    finally:
        if beat:
            beat.stop()
        runtime.stop()
