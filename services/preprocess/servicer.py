"""Between the contract and the domain: orders in, windows and summaries out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc

from auricle.v1 import audio_pb2, preprocess_pb2, preprocess_pb2_grpc
from services.common.errors import AuricleError, abort
from services.preprocess import metrics
from services.preprocess.domain import Summary, Window
from services.preprocess.hearing import Hearing
from services.preprocess.orders import to_order
from services.preprocess.pool import ChildPool, Lease
from services.preprocess.settings import PreprocessSettings
from services.preprocess.upload import Upload
from services.qwen2_audio.mel import SAMPLE_RATE_HZ

# An answer to a caller who does not read may never leave.
HANG_UP_SECONDS = 1.0


class PreprocessServicer(preprocess_pb2_grpc.PreprocessServiceServicer):
    """auricle.v1.PreprocessService over a pool of children."""

    def __init__(self, pool: ChildPool, settings: PreprocessSettings) -> None:
        self._pool = pool
        self._settings = settings

    async def Preprocess(
        self, request_iterator: AsyncIterator[preprocess_pb2.PreprocessRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[preprocess_pb2.PreprocessResponse]:
        """Windows while the recording arrives, then the summary."""
        upload = Upload(request_iterator, self._settings)
        handler = asyncio.current_task()
        try:
            order = to_order(await upload.config(), self._settings)
            lease = await self._pool.take()
        except AuricleError:
            await self._hear_out(upload)
            raise

        async def hang_up(error: AuricleError) -> None:
            """The status is queued behind what is unread, and the suspended handler ends."""
            with contextlib.suppress(TimeoutError, grpc.aio.AbortError):
                async with asyncio.timeout(HANG_UP_SECONDS):
                    await abort(context, error)
            if handler:
                handler.cancel()

        _end_with_call(lease, context)
        async for result in Hearing(lease, upload, self._settings, hang_up).results(order):
            if isinstance(result, Window):
                yield preprocess_pb2.PreprocessResponse(window=_window(result))
            else:
                yield preprocess_pb2.PreprocessResponse(summary=_summary(result, upload.received_bytes))

    async def _hear_out(self, upload: Upload) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.farewell_seconds):
                await upload.discard()


def _end_with_call(lease: Lease, context: grpc.aio.ServicerContext) -> None:
    """A canceled call may leave its generator suspended for a while; its child ends now."""
    context.add_done_callback(lambda _: lease.end())  # type: ignore[arg-type]


def _window(window: Window) -> preprocess_pb2.PreprocessedWindow:
    facts = window.facts
    features = audio_pb2.Tensor(
        dtype=audio_pb2.DATA_TYPE_FP32, shape=[facts.mel_bins, facts.stored_frames], data=window.features
    )
    return preprocess_pb2.PreprocessedWindow(
        window=audio_pb2.AudioWindow(
            index=facts.index,
            start_seconds=facts.start_sample / SAMPLE_RATE_HZ,
            duration_seconds=facts.num_samples / SAMPLE_RATE_HZ,
            content_sha256=bytes.fromhex(facts.content_sha256),
            speech_ratio=facts.speech_ratio,
            rms_dbfs=facts.rms_dbfs,
            peak_dbfs=facts.peak_dbfs,
        ),
        log_mel=audio_pb2.LogMel(features=features, num_frames=facts.num_frames, num_tokens=facts.num_tokens),
    )


def _summary(summary: Summary, received_bytes: int) -> preprocess_pb2.PreprocessSummary:
    seconds = summary.num_samples / SAMPLE_RATE_HZ
    metrics.AUDIO_SECONDS.inc(seconds)
    metrics.COMPUTE_SECONDS.inc(summary.compute_ms / 1000)
    return preprocess_pb2.PreprocessSummary(
        received_seconds=seconds,
        heard_seconds=seconds,
        received_bytes=received_bytes,
        container=summary.container,
        codec=summary.codec,
        sample_rate_hz=summary.sample_rate_hz,
        channels=summary.channels,
        warnings=[
            preprocess_pb2.DecodeWarning(at_seconds=damage.at_seconds, message=damage.message)
            for damage in summary.damages
        ],
        compute_ms=summary.compute_ms,
    )
