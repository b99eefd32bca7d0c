"""Telling webhooks that jobs have ended, until they accept it or a day is over.

A try is one signed POST under the rules of outbound calls. 2xx within ten seconds accepts it. 410 says that the address
is gone, and ends the tries; any other answer, or none, is followed by another try: what is refused today (a secret that
is not yet known, a route that is not yet deployed) may be accepted later.
"""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime

from redis.asyncio import Redis

from auricle.v1 import jobs_pb2
from auricle.webhooks import Event, iso
from services.common import telemetry
from services.common.errors import AuricleError, FailedPrecondition
from services.common.outbound import Outbound, OutboundTimeouts
from services.common.webhook_secrets import SecretsFile
from services.jobs import metrics
from services.jobs.settings import WorkerSettings
from services.jobstore.model import resource_name
from services.jobstore.outbox import Delivery, Outbox

GONE = 410
LEASE_SECONDS = 60.0
# How soon a delivery is looked at again that found too many of its tenant's under way.
CROWDED_SECONDS = 5.0
_FIELD = "analysis_job.webhook.url"


class Webhooks:
    """Delivers what is due, side by side and in the background: a receiver that hangs keeps nobody else waiting.

    Args:
        outbox: what is due.
        outbound: makes the calls.
        secrets: signs them; None signs nothing, so that nothing is delivered.
        settings: how many at once, and how long.
    """

    def __init__(
        self, outbox: Outbox, outbound: Outbound, secrets: SecretsFile | None, settings: WorkerSettings
    ) -> None:
        self._outbox = outbox
        self._outbound = outbound
        self._secrets = secrets
        self._settings = settings
        self._under_way: set[asyncio.Task[None]] = set()
        self._of_tenant: Counter[str] = Counter()

    async def deliver_due(self) -> int:
        """Begin what is due and return; returns how many deliveries were begun."""
        free = self._settings.webhook_concurrency - len(self._under_way)
        begun = 0
        for delivery in await self._outbox.claim(free, LEASE_SECONDS) if free > 0 else ():
            if self._of_tenant[delivery.tenant] >= self._settings.webhook_tenant_concurrency:
                await self._outbox.postpone(delivery, CROWDED_SECONDS, tried=False)
            else:
                self._begin(delivery)
                begun += 1
        return begun

    async def close(self) -> None:
        """Wait for what is under way; each ends within the time that a receiver has."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begin(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._deliver(delivery))
        self._under_way.add(task)
        self._of_tenant[delivery.tenant] += 1

        def ended(task: asyncio.Task[None]) -> None:
            self._under_way.discard(task)
            self._of_tenant[delivery.tenant] -= 1
            self._of_tenant += Counter()  # forgets tenants with none
            if not task.cancelled() and task.exception():
                # The lease brings it back.
                telemetry.logger().error("unexpected error", job=delivery.job_id, exc_info=task.exception())

        task.add_done_callback(ended)

    async def _deliver(self, delivery: Delivery) -> None:
        status, told, asked_seconds = await self._post(delivery)
        outcome = await self._note(delivery, status, asked_seconds)
        metrics.WEBHOOKS.labels(outcome).inc()
        telemetry.logger().info(
            "webhook",
            job=delivery.job_id,
            tenant=delivery.tenant,
            attempt=delivery.attempt,
            outcome=outcome,
            answer=told,
        )

    async def _note(self, delivery: Delivery, status: int, asked_seconds: float) -> str:
        """Write down what came of a try; returns a word for it."""
        wait = self._wait_seconds(delivery.attempt, asked_seconds)
        if 200 <= status < 300:
            outcome = "accepted"
        elif status == GONE:
            outcome = "gone"
        elif self._outbox.age_seconds(delivery) + wait > self._settings.webhook_give_up_seconds:
            outcome = "given_up"
        else:
            await self._outbox.postpone(delivery, wait)
            return "postponed"
        await self._outbox.finish(delivery)
        return outcome

    async def _post(self, delivery: Delivery) -> tuple[int, str, float]:
        """One try: the status, 0 for none; what to log of it; how many seconds the receiver wants to be left alone."""
        try:
            headers, body = _event(delivery).signed(self._active_secrets(delivery.tenant))
            async with self._outbound.call("POST", delivery.url, _FIELD, headers=headers, content=body) as response:
                return response.status, str(response.status), _retry_after(response.headers.get("retry-after", ""))
        except AuricleError as error:
            return 0, error.reason, 0.0

    def _active_secrets(self, tenant: str) -> tuple[str, ...]:
        secrets = self._secrets.of(tenant) if self._secrets else ()
        if not secrets:
            raise FailedPrecondition("the tenant has no secret", reason="WEBHOOK_SECRET_MISSING")
        return secrets

    def _wait_seconds(self, attempt: int, asked_seconds: float) -> float:
        """Before the next try: twice as long each time, and not all at once."""
        settings = self._settings
        longest = min(settings.webhook_max_retry_seconds, settings.webhook_retry_seconds * 2 ** min(attempt - 1, 30))
        asked_seconds = min(asked_seconds, settings.webhook_max_retry_seconds)
        return max(random.uniform(longest / 2, longest), asked_seconds)


def webhooks(settings: WorkerSettings, redis: Redis) -> Webhooks:
    """Webhooks as the settings have them."""
    seconds = settings.webhook_timeout_seconds
    timeouts = OutboundTimeouts(connect=seconds, read=seconds, total=seconds)
    outbound = Outbound(settings.outbound_rules, timeouts, tls=settings.outbound_tls())
    return Webhooks(Outbox(redis), outbound, settings.webhook_secrets, settings)


def _event(delivery: Delivery) -> Event:
    state = jobs_pb2.AnalysisJob.State.Name(delivery.state).removeprefix("STATE_")
    times = {name: getattr(delivery, f"{name}_ms") for name in ("create", "start", "end", "expire")}
    return Event(
        # The same for every try, so that a receiver can count it once.
        id=f"msg_{delivery.job_id}",
        type=f"analysis_job.{state.lower()}",
        timestamp=_time(delivery.end_ms),
        data={
            "name": resource_name(delivery.job_id),
            "state": state,
            **{f"{name}_time": iso(_time(milliseconds)) for name, milliseconds in times.items() if milliseconds},
        },
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _retry_after(header: str) -> float:
    with suppress(ValueError):
        return max(0.0, float(int(header)))
    return 0.0
