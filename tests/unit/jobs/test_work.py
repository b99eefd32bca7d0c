"""What becomes of a unit that fails: tried again after a while, or given up."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from auricle.v1 import jobs_pb2
from services.common.errors import (
    AuricleError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from services.jobs import work
from services.jobs.settings import WorkerSettings
from services.jobstore.model import JobRecord, Lease, LeaseLost, Step, Unit
from services.pipeline.model_watch import MODEL_MISMATCH

pytestmark = pytest.mark.unit

UNIT = Unit("0" * 32, Step.DECODE, 3)
SETTINGS = WorkerSettings(max_attempts=5, retry_seconds=1, max_retry_seconds=6, lease_seconds=0.15)


@dataclass
class Units:
    """Gives a lease, and notes what came of it."""

    attempt: int = 1
    renews: bool = True
    completed: int = 0
    failures: list[tuple[jobs_pb2.JobError, float | None]] = field(default_factory=list)

    async def claim(self, unit: Unit, lease_seconds: float, max_attempts: int) -> tuple[Lease | None, list[Unit]]:
        return Lease(unit, "token", self.attempt), []

    async def renew(self, lease: Lease, lease_seconds: float) -> bool:
        return self.renews

    async def fail(self, lease: Lease, error: jobs_pb2.JobError, retry_after_seconds: float | None) -> list[Unit]:
        self.failures.append((error, retry_after_seconds))
        return []


@dataclass
class Store:
    """Has the job until it is removed."""

    there: bool = True

    async def find(self, job_id: str) -> JobRecord | None:
        return JobRecord(job_id, "ann", jobs_pb2.AnalysisJob()) if self.there else None


class Blobs:
    """Notes which jobs were removed."""

    def __init__(self) -> None:
        self.removed: list[tuple[str, str]] = []

    async def delete_job(self, tenant: str, job_id: str) -> None:
        self.removed.append((tenant, job_id))


async def done(step: Any, units: Units, store: Store | None = None) -> Blobs:
    """Work on a unit whose step is `step`."""
    blobs = Blobs()
    models = SimpleNamespace(forget=lambda: None)
    parts: Any = SimpleNamespace(settings=SETTINGS, store=store or Store(), units=units, blobs=blobs, models=models)

    async def announce(ready: list[Unit], record: JobRecord) -> None:
        assert ready == []

    await work.work(parts, UNIT, announce, {Step.DECODE: step})
    return blobs


async def failed_with(error: Exception, attempt: int = 1) -> tuple[Any, float | None]:
    async def step(*_: Any) -> list[Unit]:
        raise error

    units = Units(attempt)
    await done(step, units)
    ((told, wait),) = units.failures
    return told, wait


@pytest.mark.parametrize(("attempt", "least", "most"), [(1, 0.5, 1), (2, 1, 2), (3, 2, 4), (4, 3, 6)])
async def test_what_may_pass_is_tried_again_after_longer_and_longer_waits(
    attempt: int, least: float, most: float
) -> None:
    for _ in range(5):
        told, wait = await failed_with(Unavailable("nobody there"), attempt)
        assert told.reason == "SERVICE_UNAVAILABLE"
        assert wait is not None
        assert least <= wait <= most


async def test_a_service_that_names_a_time_is_not_asked_before_it() -> None:
    _, wait = await failed_with(ResourceExhausted("full", retry_after_seconds=30))
    assert wait == 30


async def test_the_last_attempt_gives_up() -> None:
    assert (await failed_with(Unavailable("nobody there"), attempt=5))[1] is None


async def test_halves_of_two_models_are_waited_for_and_asked_about_again() -> None:
    _, wait = await failed_with(FailedPrecondition("they differ", reason=MODEL_MISMATCH), attempt=4)
    assert wait is not None


@pytest.mark.parametrize("error", [InvalidArgument("poison"), NotFound("gone")])
async def test_what_will_not_pass_is_given_up_at_once(error: AuricleError) -> None:
    told, wait = await failed_with(error)
    assert (told.reason, told.code, wait) == (error.reason, error.code.value[0], None)


@pytest.mark.parametrize("error", [Internal("fault"), ZeroDivisionError("a secret")])
async def test_a_fault_is_tried_three_times_and_tells_no_details(error: Exception) -> None:
    told, wait = await failed_with(error, attempt=2)
    assert wait is not None
    assert "secret" not in told.message
    assert (await failed_with(error, attempt=3))[1] is None


async def test_work_stops_when_the_lease_is_lost_and_nothing_is_written() -> None:
    stopped = []

    async def step(*_: Any) -> list[Unit]:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            stopped.append(True)
            raise
        return []

    units = Units(renews=False)
    blobs = await done(step, units)
    assert stopped == [True]
    assert (units.failures, blobs.removed) == ([], [])


async def test_what_was_written_for_a_job_that_was_removed_meanwhile_is_removed() -> None:
    store = Store()

    async def step(*_: Any) -> list[Unit]:
        store.there = False
        raise LeaseLost

    blobs = await done(step, Units(), store)
    assert blobs.removed == [("ann", UNIT.job_id)]
