"""The recording to windows, announced while later ones still come; memory does not grow with the length."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from auricle.v1 import preprocess_pb2
from services.common.errors import Internal
from services.jobs.lease import LeaseLost
from services.jobs.parts import Parts
from services.jobstore.model import JobRecord, Lease, Unit
from services.pipeline.conversation import AudioInput

CHUNK_BYTES = 2**18


async def run(
    parts: Parts, record: JobRecord, lease: Lease, announce: Callable[[list[Unit]], Awaitable[None]]
) -> list[Unit]:
    """Cut the recording; windows that an earlier attempt found are not announced again.

    Raises:
        LeaseLost: the lease went meanwhile.
        AuricleError: what preprocess or the store answered.
    """
    model = await parts.models.current()
    known = await parts.store.windows(record.id)
    raw_pcm = record.job.audio.raw_pcm if record.job.audio.HasField("raw_pcm") else None

    def chunks() -> AsyncIterator[bytes]:
        return parts.blobs.source(record.tenant, record.id, CHUNK_BYTES)

    audio = AudioInput("analysis_job.audio", chunks, raw_pcm)
    config = preprocess_pb2.PreprocessConfig(mel_bins=model.mel_bins, raw_pcm=raw_pcm)
    summary: preprocess_pb2.PreprocessSummary | None = None
    async with aclosing(parts.preprocess.windows(audio, config)) as responses:
        async for response in responses:
            if response.HasField("summary"):
                summary = response.summary
            elif response.window.window.index not in known:
                await parts.blobs.put_window(record.tenant, record.id, response.window)
                ready = await parts.store.add_window(lease, response.window.window)
                if ready is None:
                    raise LeaseLost
                await announce(ready)
    if summary is None:
        raise Internal("preprocess ended without a summary")
    return await parts.store.complete(lease, summary.SerializeToString())
