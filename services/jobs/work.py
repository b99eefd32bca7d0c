"""One unit of work: claimed, done under a lease that is kept alive, and its end written into the record."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from auricle.v1 import jobs_pb2
from services.common import deadlines, telemetry
from services.common.errors import AuricleError, DeadlineExceeded, Internal, ResourceExhausted, Unavailable
from services.jobs import metrics
from services.jobs.lease import LeaseLost
from services.jobs.parts import Parts
from services.jobs.steps import decode, encode, finish, prepare
from services.jobstore.model import JobRecord, Lease, Step, Unit

Announce = Callable[[list[Unit], JobRecord], Awaitable[None]]
# What may go better the next time.
PASSING = (Unavailable, DeadlineExceeded, ResourceExhausted)
_STEPS = {Step.PREPARE: prepare.run, Step.ENCODE: encode.run, Step.DECODE: decode.run, Step.FINISH: finish.run}


async def work(parts: Parts, unit: Unit, announce: Announce) -> None:
    """Do a unit if it is to be done; what became ready is announced."""
    settings, store = parts.settings, parts.store
    lease, ready = await store.claim(unit, settings.lease_seconds, settings.max_attempts)
    record = await store.find(unit.job_id)
    if record is None:
        return
    if lease is None:
        await announce(ready, record)
        return

    async def found(units: list[Unit]) -> None:
        await announce(units, record)

    seconds = settings.prepare_timeout_seconds if unit.step is Step.PREPARE else settings.unit_timeout_seconds
    deadlines.set_remaining(seconds)
    try:
        with metrics.UNIT_SECONDS.labels(unit.step).time(), metrics.IN_FLIGHT.labels(unit.step).track_inprogress():
            async with asyncio.timeout(seconds):
                ready = await _under_lease(parts, lease, _STEPS[unit.step](parts, record, lease, found))
    except LeaseLost:
        metrics.UNITS.labels(unit.step, "lost").inc()
        return
    except Exception as error:
        ready = await _failed(parts, lease, error)
    else:
        metrics.UNITS.labels(unit.step, "done").inc()
    await announce(ready, record)


async def _under_lease(parts: Parts, lease: Lease, doing: Awaitable[list[Unit]]) -> list[Unit]:
    """Work and keep the lease; work ends at once when the lease is lost.

    Raises:
        LeaseLost: it was.
    """
    working = asyncio.ensure_future(doing)
    keeping = asyncio.create_task(_keep(parts, lease))
    try:
        await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise LeaseLost
        return working.result()
    finally:
        for task in (working, keeping):
            task.cancel()
        await asyncio.gather(working, keeping, return_exceptions=True)


async def _keep(parts: Parts, lease: Lease) -> None:
    """Renew the lease until it is lost."""
    seconds = parts.settings.lease_seconds
    while True:
        await asyncio.sleep(seconds / 3)
        try:
            if not await parts.store.renew(lease, seconds):
                return
        except Exception as error:
            # The lease outlives two renewals that fail; then the record's word counts.
            telemetry.logger().warning("a lease could not be renewed", unit=str(lease.unit), error=str(error))


async def _failed(parts: Parts, lease: Lease, error: Exception) -> list[Unit]:
    settings = parts.settings
    known = _known(error)
    passing = isinstance(known, PASSING) and lease.attempt < settings.max_attempts
    if isinstance(known, Unavailable):
        parts.models.forget()
    telemetry.logger().warning(
        "a unit failed", unit=str(lease.unit), attempt=lease.attempt, reason=known.reason, error=known.message
    )
    if not isinstance(error, AuricleError | TimeoutError):
        telemetry.logger().error("unexpected error", unit=str(lease.unit), exc_info=error)
    metrics.UNITS.labels(lease.unit.step, "retried" if passing else "failed").inc()
    longest = min(settings.max_retry_seconds, settings.retry_seconds * 2 ** (lease.attempt - 1))
    wait = max(random.uniform(longest / 2, longest), known.retry_after_seconds or 0) if passing else None
    return await parts.store.fail(lease, as_job_error(known), wait)


def _known(error: Exception) -> AuricleError:
    if isinstance(error, AuricleError):
        return error
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("the work took longer than it may")
    return Internal(f"{type(error).__name__}")


def as_job_error(error: AuricleError) -> jobs_pb2.JobError:
    """An error as a job's record tells it."""
    return jobs_pb2.JobError(
        code=error.code.value[0], reason=error.reason, message=error.message, metadata=error.metadata
    )
