"""From recordings to embeddings: windows from preprocess, embeddings from the cache or the encoder."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from opentelemetry import trace

from auricle.v1 import audio_pb2, preprocess_pb2
from services.common import tensors
from services.common.channels import call_metadata
from services.common.deadlines import remaining_seconds
from services.common.errors import Internal, InvalidArgument, Unavailable
from services.common.telemetry import trace_headers
from services.pipeline.conversation import AudioInput
from services.pipeline.embedding_cache import EmbeddingCache
from services.pipeline.encoder_client import EncodedAudio
from services.pipeline.model_watch import ServedModel
from services.pipeline.preprocess_client import MAX_CALL_SECONDS
from services.pipeline.timing import RequestClock

TOKEN_SECONDS = 0.04
_FLOAT32_BYTES = 4
_tracer = trace.get_tracer("auricle.pipeline")


class Encoder(Protocol):
    """The part of EncoderClient that is needed here."""

    async def encode(
        self,
        features: np.ndarray,
        num_frames: int,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> EncodedAudio: ...


class Preprocess(Protocol):
    """The part of PreprocessClient that is needed here."""

    def windows(
        self, audio: AudioInput, config: preprocess_pb2.PreprocessConfig
    ) -> AsyncGenerator[preprocess_pb2.PreprocessResponse, None]: ...


@dataclass(frozen=True)
class HearingLimits:
    """Bounds of one request's hearing.

    Attributes:
        parts: recordings that are preprocessed side by side.
        windows: windows that are encoded side by side.
        embedding_bytes: most bytes of all embeddings together; they travel to the decoder in one message.
    """

    parts: int = 4
    windows: int = 8
    embedding_bytes: int = 48 * 2**20


@dataclass(frozen=True)
class HeardWindow:
    """A window and its embeddings, float32 (tokens, hidden), read-only; `cached` when they were not encoded anew."""

    window: audio_pb2.AudioWindow
    embeddings: np.ndarray
    cached: bool


@dataclass(frozen=True)
class HeardAudio:
    """A recording as the model hears it."""

    windows: Sequence[HeardWindow]
    summary: preprocess_pb2.PreprocessSummary


class Listener:
    """Hears recordings. One serves all requests; what belongs to one request is in `_Hearing`."""

    def __init__(
        self,
        preprocess: Preprocess,
        encoder: Encoder,
        cache: EmbeddingCache | None,
        limits: HearingLimits | None = None,
    ) -> None:
        self.preprocess = preprocess
        self.encoder = encoder
        self.cache = cache
        self.limits = limits or HearingLimits()

    async def embed(
        self, window: preprocess_pb2.PreprocessedWindow, model: ServedModel, clock: RequestClock
    ) -> HeardWindow:
        """One window's embeddings, from the cache or the encoder.

        Raises:
            Unavailable: the encoder cannot be reached, or its model changed.
            AuricleError: what the encoder answered.
        """
        facts = window.window
        shape = (window.log_mel.num_tokens, model.hidden_size)
        if self.cache is not None:
            cached = await self.cache.get(model.fingerprint, facts.content_sha256, shape)
            if cached is not None:
                return HeardWindow(facts, cached, cached=True)
        embeddings = await self._encode(window.log_mel, shape, model, clock)
        if self.cache is not None:
            self.cache.put_soon(model.fingerprint, facts.content_sha256, embeddings)
        return HeardWindow(facts, embeddings, cached=False)

    async def _encode(
        self, log_mel: audio_pb2.LogMel, shape: tuple[int, int], model: ServedModel, clock: RequestClock
    ) -> np.ndarray:
        features = tensors.from_proto(log_mel.features, "log_mel.features")
        with clock.encoder.call(), _tracer.start_as_current_span("encode"):
            encoded = await self.encoder.encode(
                features,
                log_mel.num_frames,
                timeout_seconds=remaining_seconds(MAX_CALL_SECONDS),
                headers={**trace_headers(), **dict(call_metadata())},
            )
        clock.encoder.compute_ms += encoded.compute_ms
        if encoded.version != model.encoder_version:
            raise Unavailable("the encoder's model changed meanwhile", retry_after_seconds=1.0)
        if encoded.embeddings.shape != shape:
            raise Internal(f"the encoder answered shape {encoded.embeddings.shape} instead of {shape}")
        return encoded.embeddings

    async def hear(self, audios: Sequence[AudioInput], model: ServedModel, clock: RequestClock) -> list[HeardAudio]:
        """All recordings of one request, in order. An error in one cancels the others.

        Raises:
            InvalidArgument: the audio alone fills the model's context (PROMPT_TOO_LONG).
            AuricleError: what a service answered.
        """
        async with _fail_fast() as group:
            hearing = _Hearing(self, model, clock, group)
            tasks = [group.create_task(hearing.hear(audio)) for audio in audios]
        return [task.result() for task in tasks]


class _Hearing:
    """The hearing of one request: its budget, its bounds, its clock."""

    def __init__(self, listener: Listener, model: ServedModel, clock: RequestClock, group: asyncio.TaskGroup) -> None:
        self._listener = listener
        self._model = model
        self._clock = clock
        self._group = group
        self._part_slots = asyncio.Semaphore(listener.limits.parts)
        self._window_slots = asyncio.Semaphore(listener.limits.windows)
        self._budget = _TokenBudget(model, listener.limits.embedding_bytes)

    async def hear(self, audio: AudioInput) -> HeardAudio:
        """One recording: its windows are embedded while later ones still come."""
        config = preprocess_pb2.PreprocessConfig(mel_bins=self._model.mel_bins, raw_pcm=audio.raw_pcm)
        embedding: list[asyncio.Task[HeardWindow]] = []
        summary: preprocess_pb2.PreprocessSummary | None = None
        async with self._part_slots, aclosing(self._listener.preprocess.windows(audio, config)) as responses:
            with self._clock.preprocess.call():
                async for response in responses:
                    if response.HasField("summary"):
                        summary = response.summary
                    # A later version may say what is neither.
                    elif response.HasField("window"):
                        self._budget.take(response.window.log_mel.num_tokens, audio.field)
                        embedding.append(self._group.create_task(self._embed(response.window)))
        if summary is None or not embedding:
            raise Internal(f"preprocess ended without a summary or without windows: {audio.field}")
        self._clock.preprocess.compute_ms += summary.compute_ms
        return HeardAudio([await task for task in embedding], summary)

    async def _embed(self, window: preprocess_pb2.PreprocessedWindow) -> HeardWindow:
        async with self._window_slots:
            return await self._listener.embed(window, self._model, self._clock)


class _TokenBudget:
    """The audio tokens that one request may have; counted while windows arrive, so that no more is encoded in vain."""

    def __init__(self, model: ServedModel, embedding_bytes: int) -> None:
        in_one_message = embedding_bytes // (model.hidden_size * _FLOAT32_BYTES)
        # The prompt's own words and the answer need at least one more token.
        self._limit = min(model.context_tokens - 1, in_one_message)
        self._taken = 0

    def take(self, tokens: int, field: str) -> None:
        self._taken += tokens
        if self._taken <= self._limit:
            return
        seconds = self._limit * TOKEN_SECONDS
        raise InvalidArgument(
            f"the audio does not fit one request: about {seconds:.0f} s of it do, all clips together;"
            " submit a longer recording as a job",
            reason="PROMPT_TOO_LONG",
            metadata={"limit_tokens": str(self._limit), "limit_seconds": f"{seconds:.1f}", "field": field},
        )


@asynccontextmanager
async def _fail_fast() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that raises the first error itself instead of a group of errors."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
