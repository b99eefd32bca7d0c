"""What keeps jobs going when something died, and the store small."""

from services.common import telemetry
from services.jobs import metrics
from services.jobs.parts import Parts
from services.jobs.work import Announce


async def look_after(parts: Parts, announce: Announce) -> int:
    """Announce overdue units again; returns how many."""
    units = await parts.store.overdue()
    for unit in units:
        record = await parts.store.find(unit.job_id)
        if record is not None:
            await announce([unit], record)
    metrics.RESENT.inc(len(units))
    return len(units)


async def clean(parts: Parts) -> int:
    """Remove jobs whose time is over, and what deleted jobs left in the store; returns how many jobs that were."""
    expired = await parts.store.expired()
    for job_id in expired:
        record = await parts.store.find(job_id)
        await parts.store.delete(job_id)
        if record is not None:
            await parts.blobs.delete_job(record.tenant, job_id)
    left_behind = 0
    for tenant, job_id in await parts.blobs.jobs():
        # A job that is just being made keeps its recording before it has a record.
        if await parts.store.find(job_id) is None and await parts.blobs.is_old(tenant, job_id):
            await parts.blobs.delete_job(tenant, job_id)
            left_behind += 1
    metrics.EXPIRED.inc(len(expired))
    if expired or left_behind:
        telemetry.logger().info("jobs removed", expired=len(expired), left_behind=left_behind)
    return len(expired) + left_behind
