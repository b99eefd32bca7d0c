"""A window's embeddings to its result."""

from collections.abc import Awaitable, Callable

from auricle.v1 import audio_pb2
from services.jobs.parts import Parts
from services.jobs.tasks import task_of
from services.jobstore.model import JobRecord, Lease, Unit
from services.pipeline.asking import Asker


async def run(
    parts: Parts, record: JobRecord, lease: Lease, announce: Callable[[list[Unit]], Awaitable[None]]
) -> list[Unit]:
    """Ask the model about the window as the job's task says.

    Raises:
        LeaseLost: the lease went meanwhile.
        NotFound: another model than the present one heard the window (JOB_DATA_MISSING).
        AuricleError: what the decoder or the store answered.
    """
    index = lease.unit.index
    window = await parts.store.window(record.id, index)
    asker = Asker(parts.decoder, record.job.task.config, is_bulk=record.is_bulk)

    async def embeddings() -> audio_pb2.Tensor:
        model = await parts.models.current()
        return await parts.blobs.get_embeddings(record.tenant, record.id, index, model.fingerprint)

    segment = await task_of(record.job).of_window(window, asker, embeddings)
    return await parts.units.complete(lease, segment.SerializeToString(), asker.output_tokens)
