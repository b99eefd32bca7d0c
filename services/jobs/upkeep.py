"""What keeps jobs going when something died, and the store small."""

from services.common import telemetry
from services.jobs import metrics
from services.jobs.parts import Parts
from services.jobs.work import Announce


async def look_after(parts: Parts, announce: Announce) -> int:
    """Announce overdue units again; returns how many."""
    units = await parts.units.overdue()
    records = {record.id: record for record in await parts.store.find_all(sorted({unit.job_id for unit in units}))}
    for unit in units:
        if unit.job_id in records:
            await announce([unit], records[unit.job_id])
    metrics.RESENT.inc(len(units))
    return len(units)


async def clean(parts: Parts) -> int:
    """Remove jobs whose time is over; returns how many."""
    expired = await parts.units.expired()
    for job_id in expired:
        record = await parts.store.find(job_id)
        await parts.store.delete(job_id)
        if record is not None:
            await parts.blobs.delete_job(record.tenant, job_id)
    metrics.EXPIRED.inc(len(expired))
    if expired:
        telemetry.logger().info("expired jobs removed", jobs=len(expired))
    return len(expired)


async def sweep(parts: Parts, older_than_seconds: float) -> int:
    """Remove what died with its writer: things in the store of jobs that have no record; returns of how many."""
    left_behind = 0
    for tenant, job_id in await parts.blobs.jobs():
        # A job that is just being made keeps its recording before it has a record.
        if await parts.store.find(job_id) is None and await parts.blobs.is_old(tenant, job_id, older_than_seconds):
            await parts.blobs.delete_job(tenant, job_id)
            left_behind += 1
    if left_behind:
        telemetry.logger().info("remains of jobs removed", jobs=left_behind)
    return left_behind
