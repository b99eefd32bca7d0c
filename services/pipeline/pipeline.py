"""The whole path of a request: hear the audio, give it to the decoder, stream the text."""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from auricle.v1 import audio_pb2, decoder_pb2, generation_pb2
from services.common.errors import Internal, Unavailable
from services.pipeline import metrics
from services.pipeline.conversation import AudioInput, Turn
from services.pipeline.fleets import DecoderFleet
from services.pipeline.hearing import HeardAudio, Listener
from services.pipeline.model_watch import ModelWatch
from services.pipeline.timing import RequestClock


@dataclass(frozen=True)
class Answer:
    """A whole answer.

    Attributes:
        text: the answer.
        model: name of the model that answered.
        heard: each recording of the request, in order.
        completion: why and how the decoder ended.
        clock: where the time went; stopped.
        total_ms: time from the request's arrival to the answer's end.
    """

    text: str
    model: str
    heard: Sequence[HeardAudio]
    completion: decoder_pb2.Completion
    clock: RequestClock
    total_ms: float

    @property
    def audio_tokens(self) -> int:
        """Tokens that the audio takes in the prompt."""
        return sum(len(window.embeddings) for audio in self.heard for window in audio.windows)

    @property
    def cached_tokens(self) -> int:
        """Those of them whose embeddings came from the cache."""
        return sum(len(window.embeddings) for audio in self.heard for window in audio.windows if window.cached)


class Pipeline:
    """Prepare, encode, decode. Serves many requests at once and owns none of its parts."""

    def __init__(self, listener: Listener, decoder: DecoderFleet, models: ModelWatch) -> None:
        self._listener = listener
        self._decoder = decoder
        self._models = models

    async def answer(
        self, turns: Sequence[Turn], config: generation_pb2.GenerationConfig, clock: RequestClock | None = None
    ) -> AsyncGenerator[str | Answer, None]:
        """The answer's text piece by piece, and at last the whole Answer. Leaving early cancels every call.

        Args:
            turns: the conversation, which its caller has checked.
            config: how to decode, likewise.
            clock: started when the request arrived; by default it starts now.

        Raises:
            FailedPrecondition: encoder and decoder serve different models (MODEL_MISMATCH).
            InvalidArgument: the audio alone fills the model's context (PROMPT_TOO_LONG).
            Unavailable: a service cannot be reached.
            AuricleError: what a service answered, unchanged.
        """
        clock = clock or RequestClock()
        try:
            model = await self._models.current()
            audios = [part for turn in turns for part in turn.parts if isinstance(part, AudioInput)]
            heard = await self._listener.hear(audios, model, clock) if audios else []
            request = _generate_request(turns, heard, config)
            texts: list[str] = []
            completion: decoder_pb2.Completion | None = None
            with clock.decoder.call():
                async with aclosing(self._decoder.generate(request, affinity(turns, heard))) as responses:
                    async for response in responses:
                        if response.text_delta:
                            clock.first_token()
                            texts.append(response.text_delta)
                            yield response.text_delta
                        if response.HasField("completion"):
                            completion = response.completion
        except Unavailable:
            self._models.forget()
            raise
        if completion is None:
            raise Internal("the decoder ended without a completion")
        clock.decoder.compute_ms = completion.prefill_ms + completion.decode_ms
        answer = Answer("".join(texts), model.name, heard, completion, clock, clock.total_ms)
        _observe(answer)
        yield answer


def _generate_request(
    turns: Sequence[Turn], heard: Sequence[HeardAudio], config: generation_pb2.GenerationConfig
) -> decoder_pb2.GenerateRequest:
    """The decoder's request, with embeddings in the places of the recordings, each copied but once."""
    request = decoder_pb2.GenerateRequest(config=config)
    recordings = iter(heard)
    for turn in turns:
        message = request.messages.add(role=turn.role)
        for part in turn.parts:
            if isinstance(part, str):
                message.parts.add(text=part)
                continue
            embedding = message.parts.add().audio
            for window in next(recordings).windows:
                shape, data = window.embeddings.shape, np.ascontiguousarray(window.embeddings, "<f4").tobytes()
                embedding.windows.add(dtype=audio_pb2.DATA_TYPE_FP32, shape=shape, data=data)
    return request


def affinity(turns: Sequence[Turn], heard: Sequence[HeardAudio]) -> bytes:
    """The same for requests that begin alike, up to the first recording or the end of the user's first turn.

    So the next turn of a conversation, and the next question about a recording, meet the decoder that still knows it.
    """
    digest = hashlib.sha256()
    for turn in turns:
        for part in turn.parts:
            if isinstance(part, AudioInput):
                for window in heard[0].windows:
                    digest.update(window.window.content_sha256)
                return digest.digest()
            digest.update(part.encode())
        if turn.role == generation_pb2.ROLE_USER:
            break
    return digest.digest()


def _observe(answer: Answer) -> None:
    for stage in answer.clock.stages:
        if stage.wall_ms:
            metrics.STAGE_SECONDS.labels(stage.service).observe(stage.wall_ms / 1000)
    if answer.clock.first_token_ms:
        metrics.FIRST_TOKEN_SECONDS.observe(answer.clock.first_token_ms / 1000)
    metrics.AUDIO_SECONDS.inc(sum(audio.summary.heard_seconds for audio in answer.heard))
    counts = {
        "prompt": answer.completion.prompt_tokens,
        "output": answer.completion.output_tokens,
        "audio": answer.audio_tokens,
        "cached": answer.cached_tokens,
    }
    for kind, count in counts.items():
        metrics.TOKENS.labels(kind).inc(count)
