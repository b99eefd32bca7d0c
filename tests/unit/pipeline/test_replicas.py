"""Several replicas of a service: who is asked, what happens when one is lost, and that only one model answers."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from services.common.errors import ResourceExhausted, Unavailable
from services.pipeline.endpoints import ListedEndpoints
from services.pipeline.replicas import DESCRIBE_SECONDS, REST_SECONDS, Replica, Replicas

pytestmark = pytest.mark.unit

ADDRESSES = ("a:1", "b:1", "c:1")


class Server:
    """A client whose service does as it is told."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked = 0
        self.error: Exception | None = None
        self.breaks_after = 0
        self.model = "m1"
        self.delay_seconds = 0.0
        self.hold: asyncio.Event | None = None
        self.closed = False

    async def answer(self) -> str:
        self.asked += 1
        if self.hold:
            await self.hold.wait()
        if self.error:
            raise self.error
        return self.address

    async def pieces(self) -> AsyncGenerator[str, None]:
        self.asked += 1
        for number in range(3):
            if self.error and number == self.breaks_after:
                raise self.error
            yield f"{self.address} {number}"

    async def describe(self) -> str:
        await asyncio.sleep(self.delay_seconds)
        if self.error:
            raise self.error
        return self.model

    async def close(self) -> None:
        self.closed = True


class Fleet:
    """Replicas of servers, with a clock that stands still."""

    def __init__(self, *addresses: str) -> None:
        self.servers: dict[str, Server] = {}
        self.now = 100.0
        self.replicas = Replicas("toy", ListedEndpoints(",".join(addresses)), self._connect, lambda: self.now)

    def _connect(self, address: str, tls_name: str | None) -> Server:
        return self.servers.setdefault(address, Server(address))

    async def describe(self) -> str:
        return await self.replicas.describe(Server.describe, lambda model: model or None)

    async def ask(self, affinity: bytes = b"") -> str:
        return await self.replicas.call(Server.answer, affinity)

    def asked(self) -> list[int]:
        return [self.servers[address].asked for address in sorted(self.servers)]


async def test_calls_go_where_the_fewest_are() -> None:
    fleet = Fleet(*ADDRESSES)
    for server in fleet.servers.values():
        server.hold = asyncio.Event()
    calls = [asyncio.create_task(fleet.ask()) for _ in range(9)]
    await asyncio.sleep(0)
    assert fleet.asked() == [3, 3, 3]
    for server in fleet.servers.values():
        assert server.hold
        server.hold.set()
    await asyncio.gather(*calls)
    assert all(member.calls == 0 for member in fleet.replicas.members)


async def test_calls_of_one_affinity_meet_one_replica_and_other_affinities_others() -> None:
    fleet = Fleet(*ADDRESSES)
    answers = {key: {await fleet.ask(bytes([key])) for _ in range(4)} for key in range(30)}
    assert all(len(found) == 1 for found in answers.values())
    assert {found.pop() for found in answers.values()} == set(ADDRESSES)


async def test_a_replica_that_joins_takes_only_its_part_of_the_affinities() -> None:
    fleet = Fleet(*ADDRESSES)
    before = {key: await fleet.ask(bytes([key])) for key in range(100)}
    fleet.replicas._update(frozenset({*ADDRESSES, "d:1"}))
    moved = [key for key, address in before.items() if await fleet.ask(bytes([key])) != address]
    assert 0 < len(moved) < 50
    assert {await fleet.ask(bytes([key])) for key in moved} == {"d:1"}


async def test_a_busy_replica_shares_its_affinity_with_the_next() -> None:
    fleet = Fleet(*ADDRESSES)
    home = await fleet.ask(b"hot")
    for server in fleet.servers.values():
        server.asked, server.hold = 0, asyncio.Event()
    calls = [asyncio.create_task(fleet.ask(b"hot")) for _ in range(6)]
    await asyncio.sleep(0)
    assert fleet.servers[home].asked == max(fleet.asked()) == 3
    assert sum(fleet.asked()) == 6
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("error", [Unavailable("gone"), ResourceExhausted("full", retry_after_seconds=1.0)])
async def test_another_replica_answers_for_one_that_cannot(error: Exception) -> None:
    fleet = Fleet(*ADDRESSES)
    home = await fleet.ask(b"key")
    fleet.servers[home].error = error
    assert await fleet.ask(b"key") != home
    pieces = [piece async for piece in fleet.replicas.stream(Server.pieces, b"key")]
    assert len(pieces) == 3
    assert not pieces[0].startswith(home)


async def test_a_refusal_that_others_would_repeat_is_told_at_once() -> None:
    fleet = Fleet(*ADDRESSES)
    for server in fleet.servers.values():
        server.error = ResourceExhausted("too large a message")
    with pytest.raises(ResourceExhausted):
        await fleet.ask()
    assert sum(fleet.asked()) == 1


async def test_one_that_was_lost_is_asked_last_for_a_while_and_then_gets_its_affinity_back() -> None:
    fleet = Fleet(*ADDRESSES)
    home = await fleet.ask(b"key")
    fleet.servers[home].error = Unavailable("gone")
    await fleet.ask(b"key")
    fleet.servers[home].error = None
    assert await fleet.ask(b"key") != home
    fleet.now += REST_SECONDS
    assert await fleet.ask(b"key") == home


async def test_when_all_are_lost_the_error_is_the_services_own() -> None:
    fleet = Fleet(*ADDRESSES)
    for server in fleet.servers.values():
        server.error = Unavailable("gone", reason="DRAINING")
    with pytest.raises(Unavailable) as raised:
        await fleet.ask()
    assert raised.value.reason == "DRAINING"
    assert fleet.asked() == [1, 1, 1]


async def test_nobody_there_is_unavailable_with_a_time_to_retry() -> None:
    fleet = Fleet("a:1")
    fleet.replicas._update(frozenset())
    with pytest.raises(Unavailable) as raised:
        await fleet.ask()
    assert raised.value.retry_after_seconds


async def test_a_stream_that_has_begun_is_not_begun_again() -> None:
    fleet = Fleet(*ADDRESSES)
    for server in fleet.servers.values():
        server.error, server.breaks_after = Unavailable("gone"), 2
    pieces: list[str] = []
    with pytest.raises(Unavailable):
        async for piece in fleet.replicas.stream(Server.pieces):
            pieces.append(piece)
    assert len(pieces) == 2
    assert sum(fleet.asked()) == 1


async def test_only_replicas_that_serve_what_most_do_get_calls() -> None:
    fleet = Fleet(*ADDRESSES)
    fleet.servers["b:1"].model = "m2"
    assert await fleet.describe() == "m1"
    assert {await fleet.ask(bytes([key])) for key in range(30)} == {"a:1", "c:1"}
    fleet.servers["a:1"].model = "m2"
    assert await fleet.describe() == "m2"
    assert {await fleet.ask(bytes([key])) for key in range(30)} == {"a:1", "b:1"}


async def test_one_that_came_back_gets_no_call_before_it_says_what_it_serves() -> None:
    fleet = Fleet(*ADDRESSES)
    await fleet.describe()
    fleet.servers["a:1"].error = Unavailable("gone")
    await fleet.describe()
    fleet.servers["a:1"].error = None
    assert {await fleet.ask(bytes([key])) for key in range(30)} == {"b:1", "c:1"}
    await fleet.describe()
    assert "a:1" in {await fleet.ask(bytes([key])) for key in range(30)}


async def test_one_that_is_slow_to_describe_itself_keeps_its_calls_and_delays_nobody_for_long() -> None:
    fleet = Fleet(*ADDRESSES)
    await fleet.describe()
    fleet.servers["a:1"].delay_seconds = 20 * DESCRIBE_SECONDS
    async with asyncio.timeout(10 * DESCRIBE_SECONDS):
        await fleet.describe()
    assert "a:1" in {await fleet.ask(bytes([key])) for key in range(30)}


async def test_when_none_describes_itself_the_first_error_is_told() -> None:
    fleet = Fleet("a:1")
    fleet.servers["a:1"].error = Unavailable("loads")
    with pytest.raises(Unavailable, match="loads"):
        await fleet.describe()


async def test_settled_means_described_and_connected_or_known_to_be_away() -> None:
    fleet = Fleet("a:1", "b:1")
    lost: set[str] = set()

    def settled() -> bool:
        return fleet.replicas.settled(lambda server: server.address not in lost)

    assert not settled()
    await fleet.describe()
    assert settled()
    lost.add("a:1")
    assert not settled()
    fleet.servers["a:1"].error = Unavailable("gone")
    await fleet.describe()
    assert settled()
    fleet.now += REST_SECONDS
    assert not settled()


async def test_one_that_leaves_finishes_its_calls_and_is_closed_after_them() -> None:
    fleet = Fleet("a:1", "b:1")
    server = fleet.servers["a:1"]
    server.hold = asyncio.Event()
    fleet.servers["b:1"].error = Unavailable("gone")
    call = asyncio.create_task(fleet.ask())
    await asyncio.sleep(0.01)
    fleet.replicas._update(frozenset({"b:1"}))
    await asyncio.sleep(0)
    assert not server.closed
    server.hold.set()
    assert await call == "a:1"
    await asyncio.sleep(0)
    assert server.closed


async def test_who_joins_is_told() -> None:
    fleet = Fleet("a:1")
    joins: list[int] = []
    fleet.replicas.on_join = lambda: joins.append(1)
    fleet.replicas._update(frozenset({"a:1"}))
    assert not joins
    fleet.replicas._update(frozenset({"a:1", "b:1"}))
    assert joins == [1]
    members: list[Replica[Server]] = fleet.replicas.members
    assert {member.address for member in members} == {"a:1", "b:1"}
