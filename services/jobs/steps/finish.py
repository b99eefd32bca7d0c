"""The results of all windows to the job's result."""

from collections.abc import Awaitable, Callable

from auricle.v1 import jobs_pb2
from services.common.errors import FailedPrecondition, InvalidArgument
from services.jobs.parts import Parts
from services.jobs.tasks import Segments, task_of
from services.jobstore.model import JobRecord, Lease, Unit
from services.pipeline.asking import Asker


async def run(
    parts: Parts, record: JobRecord, lease: Lease, announce: Callable[[list[Unit]], Awaitable[None]]
) -> list[Unit]:
    """Combine and keep the result.

    Raises:
        FailedPrecondition: no window has a result (ALL_WINDOWS_FAILED).
        LeaseLost: the lease went meanwhile.
        AuricleError: what the decoder or the store answered.
    """
    results = await parts.store.results(record.id)
    failed = await parts.store.failed_windows(record.id)
    if failed and not results:
        first = failed[0].error
        raise FailedPrecondition(
            f"no window has a result; the first: {first.message}",
            reason="ALL_WINDOWS_FAILED",
            metadata={**first.metadata, "first_reason": first.reason},
        )
    model = await parts.models.current()
    asker = Asker(parts.decoder, record.job.task.config, is_bulk=record.is_bulk)
    summary, cached, tokens = await parts.store.totals(record.id)
    warnings = [f"{warning.at_seconds:.2f} s: {warning.message}" for warning in summary.warnings]
    segments: Segments = list(results.values())
    try:
        segments, text = await task_of(record.job).of_recording(segments, asker, model.context_tokens)
    except InvalidArgument as error:
        text = "\n".join(segment.text for segment in segments if segment.text)
        warnings.append(f"the answers stand side by side, because they could not be combined: {error.message}")
    lost_seconds = sum(window.duration_seconds for window in failed)
    result = jobs_pb2.AnalysisResult(
        segments=segments,
        text=text,
        failed_windows=failed,
        received_seconds=summary.received_seconds,
        heard_seconds=summary.heard_seconds - lost_seconds,
        warnings=warnings,
        model=model.name,
        cached_windows=cached,
        output_tokens=tokens + asker.output_tokens,
    )
    # Under a key of its own: a worker that lost its lease must not replace the result of the one that has it.
    await parts.blobs.put_result(record.tenant, record.id, lease.token, result)
    return await parts.units.complete(lease, lease.token)
