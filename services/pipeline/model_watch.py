"""Which model the platform serves, and that both halves of it are the same.

Encoder and decoder are asked at the start, every few seconds, and before the next request after a connection was lost
or a call found nobody there. Requests meanwhile use what is known and wait for nothing.
"""

import asyncio
import contextvars
import copy
from dataclasses import dataclass
from typing import Protocol

from auricle.v1 import decoder_pb2
from services.common import telemetry
from services.common.errors import AuricleError, FailedPrecondition, Unavailable
from services.pipeline.encoder_client import EncoderInfo

RETRY_SECONDS = 1.0
MODEL_MISMATCH = "MODEL_MISMATCH"
ASK_AGAIN_SECONDS = 0.1


@dataclass(frozen=True)
class ServedModel:
    """The model that answers.

    Attributes:
        name: for people, such as "auricle-mini".
        fingerprint: hex SHA-256 of the checkpoint that both halves come from.
        mel_bins: mel bins that the encoder takes.
        hidden_size: width of an audio embedding.
        context_tokens: most tokens of prompt and answer together.
        encoder_version: version of the encoder in Triton's repository.
    """

    name: str
    fingerprint: str
    mel_bins: int
    hidden_size: int
    context_tokens: int
    encoder_version: int


class DescribesEncoder(Protocol):
    """The part of EncoderClient that is needed here."""

    async def describe(self) -> EncoderInfo: ...


class DescribesDecoder(Protocol):
    """The part of DecoderClient that is needed here."""

    def connected(self) -> bool: ...

    async def describe(self) -> decoder_pb2.DescribeDecoderResponse: ...


class ModelWatch:
    """Knows the served model. `start` begins the regular asking, `close` ends it.

    Args:
        encoder: asked for its half.
        decoder: asked for the other.
        interval_seconds: time between regular questions.
        patience_seconds: how long a question is repeated while somebody is not there.
    """

    def __init__(
        self,
        encoder: DescribesEncoder,
        decoder: DescribesDecoder,
        *,
        interval_seconds: float = 10.0,
        patience_seconds: float = 3.0,
    ) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._interval_seconds = interval_seconds
        self._patience_seconds = patience_seconds
        self._known: ServedModel | AuricleError = Unavailable("the model is not known yet")
        self._asking: asyncio.Task[None] | None = None
        self._regular: asyncio.Task[None] | None = None
        # Asking serves all requests, so it runs with the deadline and the trace of none of them.
        self._context = contextvars.copy_context()

    def start(self) -> None:
        """Begin to ask regularly; does not wait for an answer."""
        self._regular = asyncio.get_running_loop().create_task(self._ask_regularly(), context=self._context)

    async def close(self) -> None:
        """Stop asking."""
        tasks = [task for task in (self._regular, self._asking) if task]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def forget(self) -> None:
        """Ask again before the next request: a service could not be reached, or answered as another."""
        self._known = Unavailable("the model is not known now")

    @property
    def is_whole(self) -> bool:
        """Whether both halves of one model are there, as far as is known now; asks nobody."""
        return isinstance(self._known, ServedModel) and self._decoder.connected()

    async def current(self) -> ServedModel:
        """The served model.

        Raises:
            FailedPrecondition: encoder and decoder serve different models (MODEL_MISMATCH).
            Unavailable: one of them cannot be reached.
        """
        if isinstance(self._known, Unavailable) or not self._decoder.connected():
            await self._ask()
        if isinstance(self._known, AuricleError):
            # A fresh one each time: an exception that is raised again gathers tracebacks.
            raise copy.copy(self._known)
        return self._known

    async def _ask_regularly(self) -> None:
        while True:
            await self._ask()
            settled = isinstance(self._known, ServedModel)
            await asyncio.sleep(self._interval_seconds if settled else min(RETRY_SECONDS, self._interval_seconds))

    async def _ask(self) -> None:
        """Ask both now; callers that come meanwhile share the answer."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask_both(), context=self._context)
        await asyncio.shield(self._asking)

    async def _ask_both(self) -> None:
        found: ServedModel | AuricleError
        try:
            found = await self._served()
        except (FailedPrecondition, Unavailable) as error:
            found = error
        except Exception as error:
            if isinstance(error, TimeoutError) and isinstance(self._known, ServedModel):
                # Slow is not gone: a busy service still serves what it served.
                return
            found = Unavailable(f"the model's services do not describe themselves: {type(error).__name__}: {error}")
        if isinstance(found, Unavailable):
            found.retry_after_seconds = found.retry_after_seconds or RETRY_SECONDS
        self._note_change(found)
        self._known = found

    async def _served(self) -> ServedModel:
        """Asks until both answered or patience ends: a channel that lost its server tries again only now and then."""
        last_error: Unavailable | None = None
        try:
            async with asyncio.timeout(self._patience_seconds):
                while True:
                    try:
                        encoder, decoder = await asyncio.gather(self._encoder.describe(), self._decoder.describe())
                        return _matched(encoder, decoder)
                    except Unavailable as error:
                        last_error = error
                    await asyncio.sleep(ASK_AGAIN_SECONDS)
        except TimeoutError:
            if last_error is None:
                raise
            raise last_error from None

    def _note_change(self, found: ServedModel | AuricleError) -> None:
        if isinstance(found, ServedModel) and found != self._known:
            telemetry.logger().info("model", name=found.name, fingerprint=found.fingerprint)
        elif isinstance(found, AuricleError) and str(found) != str(self._known):
            telemetry.logger().warning("model", reason=found.reason, message=found.message)


def _matched(encoder: EncoderInfo, decoder: decoder_pb2.DescribeDecoderResponse) -> ServedModel:
    if not encoder.ready:
        raise Unavailable("the encoder is not ready", metadata={"service": "encoder"})
    if not decoder.fingerprint:
        raise Unavailable("the decoder still loads its model", metadata={"service": "decoder"})
    if encoder.fingerprint != decoder.fingerprint:
        raise FailedPrecondition(
            "encoder and decoder serve different models; publish the decoder's checkpoint to the encoder",
            reason=MODEL_MISMATCH,
            metadata={"encoder": encoder.fingerprint, "decoder": decoder.fingerprint},
        )
    return ServedModel(
        name=decoder.model,
        fingerprint=decoder.fingerprint,
        mel_bins=decoder.mel_bins,
        hidden_size=decoder.hidden_size,
        context_tokens=decoder.context_tokens,
        encoder_version=encoder.version,
    )
