"""DecoderService: proto to domain and back."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, replace

import grpc

from auricle.v1 import decoder_pb2, decoder_pb2_grpc, generation_pb2
from services.common import deadlines
from services.decoder.conversation import RequestReader
from services.decoder.engine import Engine, Finish, FinishReason
from services.decoder.grammar import GrammarCompiler

_FINISH_REASONS = {
    FinishReason.STOP: generation_pb2.FINISH_REASON_STOP,
    FinishReason.STOP_STRING: generation_pb2.FINISH_REASON_STOP_STRING,
    FinishReason.LENGTH: generation_pb2.FINISH_REASON_LENGTH,
}


@dataclass
class ModelCard:
    """What DescribeDecoder tells of the checkpoint."""

    model: str
    fingerprint: str
    mel_bins: int


class DecoderServicer(decoder_pb2_grpc.DecoderServiceServicer):
    """Serves one engine.

    Args:
        engine: decodes.
        reader: checks requests and lays out prompts.
        executor: where `reader` runs; one thread, because a tokenizer is not shared between threads.
        grammars: makes the forms that answers must have.
        card: what the checkpoint is.
    """

    def __init__(
        self, engine: Engine, reader: RequestReader, executor: Executor, grammars: GrammarCompiler, card: ModelCard
    ) -> None:
        self._engine = engine
        self._grammars = grammars
        self._reader = reader
        self._executor = executor
        self._card = card

    async def Generate(
        self, request: decoder_pb2.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[decoder_pb2.GenerateResponse]:
        arrival = time.monotonic()
        deadline = arrival + deadlines.remaining_seconds()
        loop = asyncio.get_running_loop()
        prepared = await loop.run_in_executor(self._executor, self._reader.read, request, arrival, deadline)
        prepared = replace(prepared, grammar=await self._grammars.compile(prepared.params))
        token_ids: list[int] = []
        async with aclosing(self._engine.generate(prepared)) as events:
            async for event in events:
                token_ids += event.token_ids
                if event.finish:
                    completion = _completion(event.finish, len(prepared.token_ids), token_ids)
                    yield decoder_pb2.GenerateResponse(text_delta=event.text, completion=completion)
                elif event.text:
                    yield decoder_pb2.GenerateResponse(text_delta=event.text)

    async def DescribeDecoder(
        self, request: decoder_pb2.DescribeDecoderRequest, context: grpc.aio.ServicerContext
    ) -> decoder_pb2.DescribeDecoderResponse:
        return decoder_pb2.DescribeDecoderResponse(
            model=self._card.model,
            fingerprint=self._card.fingerprint,
            hidden_size=self._engine.hidden_size,
            context_tokens=self._engine.context_tokens,
            mel_bins=self._card.mel_bins,
        )


def _completion(finish: Finish, prompt_tokens: int, token_ids: list[int]) -> decoder_pb2.Completion:
    return decoder_pb2.Completion(
        finish_reason=_FINISH_REASONS[finish.reason],
        prompt_tokens=prompt_tokens,
        output_tokens=len(token_ids),
        queue_ms=finish.queue_seconds * 1000,
        prefill_ms=finish.prefill_seconds * 1000,
        decode_ms=finish.decode_seconds * 1000,
        cached_prompt_tokens=finish.cached_tokens,
        token_ids=token_ids,
    )
