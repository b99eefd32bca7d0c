"""A window to embeddings."""

from collections.abc import Awaitable, Callable

from services.common import tensors
from services.jobs.parts import Parts
from services.jobstore.model import JobRecord, Lease, Unit
from services.pipeline.asking import is_silent
from services.pipeline.timing import RequestClock


async def run(
    parts: Parts, record: JobRecord, lease: Lease, announce: Callable[[list[Unit]], Awaitable[None]]
) -> list[Unit]:
    """Encode the window, or find its embeddings in the cache. Silence is asked nothing and needs none.

    Raises:
        LeaseLost: the lease went meanwhile.
        AuricleError: what the encoder or the store answered.
    """
    index = lease.unit.index
    model = await parts.models.current()
    window = await parts.blobs.get_window(record.tenant, record.id, index)
    cached = False
    if not is_silent(window.window):
        heard = await parts.listener.embed(window, model, RequestClock())
        cached = heard.cached
        tensor = tensors.to_proto(heard.embeddings)
        await parts.blobs.put_embeddings(record.tenant, record.id, index, model.fingerprint, tensor)
    ready = await parts.units.complete(lease, fact=int(cached))
    await parts.blobs.drop_window(record.tenant, record.id, index)
    return ready
