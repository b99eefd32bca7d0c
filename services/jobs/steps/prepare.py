"""The recording to windows, announced while later ones still come; memory does not grow with the length."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from auricle.v1 import preprocess_pb2
from services.common.errors import Internal, InvalidArgument
from services.jobs.parts import Parts
from services.jobstore.model import JobRecord, Lease, Unit
from services.pipeline.conversation import AudioInput

CHUNK_BYTES = 2**18

Announce = Callable[[list[Unit]], Awaitable[None]]


async def run(parts: Parts, record: JobRecord, lease: Lease, announce: Announce) -> list[Unit]:
    """Cut the recording; windows that an earlier attempt found are not announced again.

    A recording that cannot be read to its end counts as what was found before; a warning names the place.

    Raises:
        LeaseLost: the lease went meanwhile.
        AuricleError: what preprocess or the store answered.
    """
    await _fetch(parts, record, lease)
    try:
        summary = await _cut(parts, record, lease, announce)
    except InvalidArgument as error:
        summary = await _summary_until(parts, record, error)
    return await parts.units.complete(lease, summary.SerializeToString())


async def _fetch(parts: Parts, record: JobRecord, lease: Lease) -> None:
    """Copy a recording behind a URI, once for all tries: what is there may change between them."""
    uri = record.job.audio.uri
    if uri and not await parts.blobs.has_source(record.tenant, record.id):
        async with parts.uris.open(record.tenant, uri) as chunks:
            await parts.blobs.put_source(record.tenant, record.id, lease.token, chunks)


async def _cut(parts: Parts, record: JobRecord, lease: Lease, announce: Announce) -> preprocess_pb2.PreprocessSummary:
    model = await parts.models.current()
    known = await parts.store.windows(record.id)
    raw_pcm = record.job.audio.raw_pcm if record.job.audio.HasField("raw_pcm") else None

    def chunks() -> AsyncIterator[bytes]:
        return parts.blobs.source(record.tenant, record.id, CHUNK_BYTES)

    audio = AudioInput("analysis_job.audio", chunks, raw_pcm)
    config = preprocess_pb2.PreprocessConfig(mel_bins=model.mel_bins, raw_pcm=raw_pcm)
    async with aclosing(parts.preprocess.windows(audio, config)) as responses:
        async for response in responses:
            if response.HasField("summary"):
                return response.summary
            if response.HasField("window") and response.window.window.index not in known:
                await parts.blobs.put_window(record.tenant, record.id, response.window)
                await announce(await parts.units.add_window(lease, response.window.window))
    raise Internal("preprocess ended without a summary")


async def _summary_until(parts: Parts, record: JobRecord, error: InvalidArgument) -> preprocess_pb2.PreprocessSummary:
    windows = (await parts.store.windows(record.id)).values()
    if not windows:
        raise error
    seconds = max(window.start_seconds + window.duration_seconds for window in windows)
    summary = preprocess_pb2.PreprocessSummary(received_seconds=seconds, heard_seconds=seconds)
    summary.warnings.add(at_seconds=seconds, message=f"nothing after this could be read: {error.message}")
    return summary
