"""Which model answers, and whether everything behind the gateway is well."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from services.common.errors import AuricleError, FailedPrecondition, Unavailable
from services.jobstore.client import RecordsRedis
from services.jobstore.dispatch import QUEUES
from services.jobstore.workers import left_alone, present
from services.pipeline.encoder_client import EncoderInfo
from services.pipeline.health import CHECK_TIMEOUT_SECONDS
from services.pipeline.model_watch import ModelWatch, ServedModel
from services.pipeline.replicas import Replicas

# Asks a service; returns what it serves, for people, and raises AuricleError when it is not well.
Check = Callable[[], Awaitable[str]]


class DescribesEncoder(Protocol):
    """The part of EncoderClient that is needed here."""

    async def describe(self) -> EncoderInfo: ...


@dataclass(frozen=True)
class PeerStatus:
    """State of one service behind the gateway; `detail` says what it serves or why it is not ready."""

    service: str
    ready: bool
    detail: str


@dataclass(frozen=True)
class PlatformStatus:
    """State of the platform; `model` is None while nobody knows it."""

    model: ServedModel | None
    peers: list[PeerStatus]

    @property
    def ready(self) -> bool:
        """True when every service is well and both halves of the model match."""
        return self.model is not None and all(peer.ready for peer in self.peers)


class StatusBoard:
    """Asks every service at once, each for a short time.

    Args:
        models: knows the served model.
        checks: by service, in the order of the path.
    """

    def __init__(self, models: ModelWatch, checks: Mapping[str, Check]) -> None:
        self._models = models
        self._checks = checks

    async def status(self) -> PlatformStatus:
        """The platform's state now; never raises for a service that is not well."""
        checks = asyncio.gather(*(self._peer(service, check) for service, check in self._checks.items()))
        model, peers = await asyncio.gather(self._model(), checks)
        if isinstance(model, ServedModel):
            return PlatformStatus(model, peers)
        if isinstance(model, FailedPrecondition):
            peers = [
                replace(peer, ready=False, detail=model.message) if peer.service in ("encoder", "decoder") else peer
                for peer in peers
            ]
        return PlatformStatus(None, peers)

    async def _model(self) -> ServedModel | AuricleError:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                return await self._models.current()
        except AuricleError as error:
            return error
        except TimeoutError:
            return Unavailable("the model is not known now")

    async def _peer(self, service: str, check: Check) -> PeerStatus:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                return PeerStatus(service, True, await check())
        except AuricleError as error:
            return PeerStatus(service, False, error.message)
        except TimeoutError:
            return PeerStatus(service, False, f"no answer in {CHECK_TIMEOUT_SECONDS:g} s")


class Checked(Protocol):
    """The part of a service's client that is needed here."""

    async def check(self) -> str: ...

    async def close(self) -> None: ...


CheckedT = TypeVar("CheckedT", bound=Checked)


def replicas_check(replicas: Replicas[CheckedT]) -> Check:
    """Asks the health of every replica; the service is well while one of them is."""

    async def check() -> str:
        if not replicas.members:
            raise Unavailable("no replica is there")
        answers = await asyncio.gather(*(member.client.check() for member in replicas.members), return_exceptions=True)
        well = [answer for answer in answers if isinstance(answer, str)]
        if not well:
            raise next(answer for answer in answers if isinstance(answer, BaseException))
        return well[0] if len(answers) == 1 else f"{well[0]}, {len(well)} of {len(answers)} replicas"

    return check


def workers_check(records: RecordsRedis) -> Check:
    """Looks which workers of jobs are there; all is well when somebody takes from each queue."""

    async def check() -> str:
        workers = await present(records)
        if alone := left_alone(workers, QUEUES):
            raise Unavailable(f"jobs wait: no worker takes from {', '.join(alone)}")
        return "1 worker" if len(workers) == 1 else f"{len(workers)} workers"

    return check


def encoder_check(encoder: DescribesEncoder) -> Check:
    """Asks the encoder which version it serves."""

    async def check() -> str:
        info = await encoder.describe()
        if not info.ready:
            raise Unavailable("the encoder is not ready")
        return f"version {info.version}"

    return check
