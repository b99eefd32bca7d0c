"""The replicas of one service: which there are, which serve the model in use, and who gets the next call.

Without affinity a call goes to the replica with the fewest calls. With affinity, calls of one key go to one replica
(rendezvous hashing), unless it has more than its share (consistent hashing with bounded loads, arXiv 1608.01350); then
to the key's next one. A replica that could not be reached is asked last for a while. A call that no replica has begun
to answer is tried at the next.
"""

import asyncio
import hashlib
import math
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from services.common import telemetry
from services.common.errors import AuricleError, DeadlineExceeded, ResourceExhausted, Unavailable
from services.pipeline import metrics
from services.pipeline.endpoints import Addresses, Endpoints

REST_SECONDS = 5.0
# A replica may have a quarter more calls than the mean before calls that would rather go there go elsewhere.
LOAD_FACTOR = 1.25
# One that hangs must not keep the others from being known.
DESCRIBE_SECONDS = 1.0


class Client(Protocol):
    """What every client of a service can."""

    async def close(self) -> None: ...


ClientT = TypeVar("ClientT", bound=Client)
Answer = TypeVar("Answer")
_SLOW = (TimeoutError, DeadlineExceeded)


@dataclass(eq=False)
class Replica(Generic[ClientT]):
    """One of them.

    Attributes:
        address: where it is.
        client: calls it.
        calls: in flight.
        rests_until: reading of the clock before which it is asked last.
        model: what it said it serves; None before it did.
        leaving: no longer named; it finishes its calls.
    """

    address: str
    client: ClientT
    calls: int = 0
    rests_until: float = 0.0
    model: Hashable = None
    leaving: bool = False


class Replicas(Generic[ClientT]):
    """Keeps a client for each replica. Make it inside a running event loop; `start` follows changes.

    Args:
        service: for metrics and messages.
        endpoints: where they are.
        connect: makes a client for an address and the name that certificates bear; it connects when first used.
        clock: monotonic seconds; tests bring their own.
    """

    def __init__(
        self,
        service: str,
        endpoints: Endpoints,
        connect: Callable[[str, str | None], ClientT],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_join: Callable[[], None] = lambda: None
        self._service = service
        self._endpoints = endpoints
        self._connect = connect
        self._clock = clock
        self._members: dict[str, Replica[ClientT]] = {}
        self._model: Hashable = None
        self._following: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._update(endpoints.initial)

    def start(self) -> None:
        """Follow changes."""
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Close every client; calls in flight end as cancelled."""
        if self._following:
            self._following.cancel()
        await asyncio.gather(*self._closing, *(member.client.close() for member in self._members.values()))

    @property
    def members(self) -> list[Replica[ClientT]]:
        """Those that are named now."""
        return list(self._members.values())

    async def call(self, do: Callable[[ClientT], Awaitable[Answer]], affinity: bytes = b"") -> Answer:
        """The answer of the first replica that has one.

        Raises:
            Unavailable: none can be reached.
            AuricleError: what the service answered.
        """
        error: AuricleError = self._nobody()
        for member in self._in_order(affinity):
            try:
                with self._working(member):
                    return await do(member.client)
            except (Unavailable, ResourceExhausted) as found:
                error = self._passed_over(member, found)
        raise error

    async def stream(
        self, do: Callable[[ClientT], AsyncGenerator[Answer, None]], affinity: bytes = b""
    ) -> AsyncGenerator[Answer, None]:
        """The answers of the first replica that has one; if it is lost after that, its error is the caller's.

        Raises:
            Unavailable: none can be reached, or the one that answered was lost.
            AuricleError: what the service answered.
        """
        error: AuricleError = self._nobody()
        for member in self._in_order(affinity):
            begun = False
            try:
                with self._working(member):
                    async with aclosing(do(member.client)) as answers:
                        async for answer in answers:
                            begun = True
                            yield answer
                return
            except (Unavailable, ResourceExhausted) as found:
                error = self._passed_over(member, found)
                if begun:
                    raise
        raise error

    async def describe(
        self, ask: Callable[[ClientT], Awaitable[Answer]], model_of: Callable[[Answer], Hashable]
    ) -> Answer:
        """Ask every replica what it serves; calls then go only to those that serve what most of them do.

        Args:
            ask: asks one.
            model_of: what it serves, out of its answer; None while it serves nothing.

        Raises:
            Unavailable: none can be reached.
            TimeoutError, AuricleError: what the first said, when none answered.
        """
        members = self.members
        if not members:
            raise self._nobody()
        limit = DESCRIBE_SECONDS if len(members) > 1 else None
        answers = await asyncio.gather(
            *(asyncio.wait_for(ask(member.client), limit) for member in members), return_exceptions=True
        )
        described = {}
        for member, answer in zip(members, answers, strict=True):
            if not isinstance(answer, BaseException):
                described[member] = answer
                member.model, member.rests_until = model_of(answer), 0.0
            elif not isinstance(answer, _SLOW):  # slow is not gone
                member.model = None
                member.rests_until = self._clock() + REST_SECONDS
        if not described:
            raise next(answer for answer in answers if isinstance(answer, BaseException))
        self._choose_model()
        chosen = [answer for member, answer in described.items() if member.model == self._model]
        return chosen[0] if chosen else next(iter(described.values()))

    def settled(self, connected: Callable[[ClientT], bool]) -> bool:
        """True when every replica said what it serves and is still the same one, or is known to be away."""
        now = self._clock()
        return bool(self._members) and all(
            member.rests_until > now or (member.model is not None and connected(member.client))
            for member in self._members.values()
        )

    def _choose_model(self) -> None:
        models = Counter(member.model for member in self._members.values() if member.model is not None)
        if models:
            self._model = max(models, key=lambda model: (models[model], model == self._model))
        for member in self._members.values():
            if member.model not in (None, self._model):
                telemetry.logger().warning("serves another model", service=self._service, replica=member.address)

    def _in_order(self, affinity: bytes) -> list[Replica[ClientT]]:
        """The replicas that serve the model in use, the one to ask first at the front."""
        members = [member for member in self._members.values() if member.model == self._model]
        random.shuffle(members)
        now = self._clock()
        if not affinity:
            return sorted(members, key=lambda member: (member.rests_until > now, member.calls))
        share = LOAD_FACTOR * (sum(member.calls for member in members) + 1) / max(len(members), 1)
        return sorted(
            members,
            key=lambda member: (
                member.rests_until > now,
                member.calls >= math.ceil(share),
                hashlib.sha256(member.address.encode() + affinity).digest(),
            ),
        )

    @contextmanager
    def _working(self, member: Replica[ClientT]) -> Iterator[None]:
        member.calls += 1
        try:
            yield
        finally:
            member.calls -= 1
            if member.leaving and not member.calls:
                self._retire(member)

    def _passed_over(self, member: Replica[ClientT], error: AuricleError) -> AuricleError:
        """Notes that a replica had no answer; a refusal that another would repeat is raised."""
        if isinstance(error, ResourceExhausted) and error.retry_after_seconds is None:
            raise error
        metrics.PASSED_OVER.labels(self._service, error.reason).inc()
        if isinstance(error, Unavailable):
            member.rests_until = self._clock() + REST_SECONDS
        return error

    def _nobody(self) -> Unavailable:
        return Unavailable(
            f"no replica of {self._service} is there", metadata={"service": self._service}, retry_after_seconds=1.0
        )

    async def _follow(self) -> None:
        async for addresses in self._endpoints.changes():
            self._update(addresses)

    def _update(self, addresses: Addresses) -> None:
        for address in self._members.keys() - addresses:
            member = self._members.pop(address)
            member.leaving = True
            if not member.calls:
                self._retire(member)
        joined = addresses - self._members.keys()
        for address in joined:
            self._members[address] = Replica(address, self._connect(address, self._endpoints.tls_name))
        metrics.REPLICAS.labels(self._service).set(len(self._members))
        if joined:
            self.on_join()

    def _retire(self, member: Replica[ClientT]) -> None:
        task = asyncio.ensure_future(member.client.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
