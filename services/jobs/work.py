"""One unit of work: claimed, done under a lease that is kept alive, and its end written into the record."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

from auricle.v1 import jobs_pb2
from services.common import deadlines, telemetry
from services.common.errors import AuricleError, DeadlineExceeded, Internal, ResourceExhausted, Unavailable
from services.jobs import metrics
from services.jobs.parts import Parts
from services.jobs.steps import decode, encode, finish, prepare
from services.jobstore.model import JobRecord, Lease, LeaseLost, Step, Unit
from services.pipeline.model_watch import MODEL_MISMATCH

Announce = Callable[[list[Unit], JobRecord], Awaitable[None]]
Do = Callable[[Parts, JobRecord, Lease, Callable[[list[Unit]], Awaitable[None]]], Awaitable[list[Unit]]]
# What may go better the next time.
PASSING = (Unavailable, DeadlineExceeded, ResourceExhausted)
# A fault of ours may be a moment's, or the window's: it is tried a few times.
FAULT_ATTEMPTS = 3
STEPS: Mapping[Step, Do] = {
    Step.PREPARE: prepare.run,
    Step.ENCODE: encode.run,
    Step.DECODE: decode.run,
    Step.FINISH: finish.run,
}


async def work(parts: Parts, unit: Unit, announce: Announce, steps: Mapping[Step, Do] = STEPS) -> None:
    """Do a unit if it is to be done; what became ready is announced."""
    settings = parts.settings
    lease, ready = await parts.units.claim(unit, settings.lease_seconds, settings.max_attempts)
    record = await parts.store.find(unit.job_id)
    if record is None:
        return
    try:
        if lease is None:
            metrics.UNITS.labels(unit.step, "refused").inc()
        else:
            ready = await _done(parts, record, lease, announce, steps[unit.step])
    except LeaseLost:
        metrics.UNITS.labels(unit.step, "lost").inc()
        if await parts.store.find(record.id) is None:
            # The job was removed while this was written.
            await parts.blobs.delete_job(record.tenant, record.id)
    else:
        await announce(ready, record)


async def _done(parts: Parts, record: JobRecord, lease: Lease, announce: Announce, do: Do) -> list[Unit]:
    """Do the unit in the time it may take; a failure is written down.

    Raises:
        LeaseLost: the lease went meanwhile.
    """
    step, settings = lease.unit.step, parts.settings
    seconds = settings.prepare_timeout_seconds if step is Step.PREPARE else settings.unit_timeout_seconds
    deadlines.set_remaining(seconds)

    async def found(units: list[Unit]) -> None:
        await announce(units, record)

    try:
        with metrics.UNIT_SECONDS.labels(step).time(), metrics.IN_FLIGHT.labels(step).track_inprogress():
            async with asyncio.timeout(seconds):
                ready = await _under_lease(parts, lease, do(parts, record, lease, found))
    except LeaseLost:
        raise
    except Exception as error:
        return await _failed(parts, lease, error)
    metrics.UNITS.labels(step, "done").inc()
    return ready


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
            if not await parts.units.renew(lease, seconds):
                return
        except Exception as error:
            # The lease outlives two renewals that fail; then the record's word counts.
            telemetry.logger().warning("a lease could not be renewed", unit=str(lease.unit), error=str(error))


async def _failed(parts: Parts, lease: Lease, error: Exception) -> list[Unit]:
    settings = parts.settings
    known = _known(error)
    passing = lease.attempt < _most_attempts(known, settings.max_attempts)
    if isinstance(known, Unavailable) or known.reason == MODEL_MISMATCH:
        parts.models.forget()
    telemetry.logger().warning(
        "a unit failed", unit=str(lease.unit), attempt=lease.attempt, reason=known.reason, error=known.message
    )
    if not isinstance(error, AuricleError | TimeoutError):
        telemetry.logger().error("unexpected error", unit=str(lease.unit), exc_info=error)
    metrics.UNITS.labels(lease.unit.step, "retried" if passing else "failed").inc()
    longest = min(settings.max_retry_seconds, settings.retry_seconds * 2 ** (lease.attempt - 1))
    wait = max(random.uniform(longest / 2, longest), known.retry_after_seconds or 0) if passing else None
    return await parts.units.fail(lease, as_job_error(known), wait)


def _passes(error: AuricleError) -> bool:
    # Both halves of another model come one after the other.
    return isinstance(error, PASSING) or error.reason == MODEL_MISMATCH


def _most_attempts(error: AuricleError, max_attempts: int) -> int:
    if _passes(error):
        return max_attempts
    return min(FAULT_ATTEMPTS, max_attempts) if isinstance(error, Internal) else 1


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
