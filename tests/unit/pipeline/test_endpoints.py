"""Where replicas are: listed, behind a name, or in EndpointSlices."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from services.pipeline.endpoints import (
    Addresses,
    Endpoints,
    ListedEndpoints,
    ResolvedEndpoints,
    check_target,
    endpoints_of,
    joined,
)
from services.pipeline.kubernetes_endpoints import KubernetesEndpoints
from tests.kubernetes_api import NAMESPACE, KubernetesApi, endpoint, endpoint_slice, running_kubernetes_api

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("target", "addresses"),
    [
        ("127.0.0.1:8402", {"127.0.0.1:8402"}),
        ("decoder-0.decoder:8402, decoder-1.decoder:8402", {"decoder-0.decoder:8402", "decoder-1.decoder:8402"}),
        ("[::1]:1", {"[::1]:1"}),
    ],
)
def test_listed_addresses_are_known_at_once(target: str, addresses: set[str]) -> None:
    assert endpoints_of(target).initial == addresses


@pytest.mark.parametrize(
    "target",
    [
        "",
        "decoder",
        "decoder:",
        "decoder:0",
        "decoder:70000",
        "a:1,",
        "http://a:1",
        "dns:///a",
        "k8s:///a:1",
        "dns:a:1",
    ],
)
def test_nonsense_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        check_target(target)


@pytest.mark.parametrize("target", ["dns:///decoder.auricle.svc:8402", "k8s:///auricle/decoder:grpc", "a:1,b:2"])
def test_every_form_is_accepted_before_anything_is_started(target: str) -> None:
    check_target(target)


def test_ipv6_addresses_get_their_brackets() -> None:
    assert (joined("::1", 5), joined("10.0.0.1", 5), joined("name", 5)) == ("[::1]:5", "10.0.0.1:5", "name:5")


@asynccontextmanager
async def following(endpoints: Endpoints) -> AsyncIterator["asyncio.Queue[Addresses]"]:
    """The changes as a queue."""
    found: asyncio.Queue[Addresses] = asyncio.Queue()

    async def follow() -> None:
        changes = endpoints.changes()
        assert isinstance(changes, AsyncGenerator)
        try:
            async for addresses in changes:
                found.put_nowait(addresses)
        finally:
            await changes.aclose()

    task = asyncio.create_task(follow())
    yield found
    task.cancel()
    await asyncio.wait([task])


async def soon(found: "asyncio.Queue[Addresses]") -> Addresses:
    return await asyncio.wait_for(found.get(), 20)


async def test_listed_addresses_never_change() -> None:
    async with following(ListedEndpoints("a:1")) as found:
        await asyncio.sleep(0.01)
        assert found.empty()


async def test_a_name_is_resolved_and_one_that_is_unknown_changes_nothing() -> None:
    named = ResolvedEndpoints("localhost", 8402, 0.01)
    async with following(named) as found:
        assert "127.0.0.1:8402" in await soon(found)
        named._host = "no-such-name.invalid"
        await asyncio.sleep(0.1)
        assert found.empty()
    async with following(ResolvedEndpoints("no-such-name.invalid", 8402, 0.01)) as found:
        await asyncio.sleep(0.1)
        assert found.empty()


@pytest.fixture(scope="module")
def api() -> Iterator[KubernetesApi]:
    with running_kubernetes_api() as running:
        yield running


async def test_pods_come_drain_and_go(api: KubernetesApi) -> None:
    api.put(endpoint_slice("decoder", "one", 8402, [endpoint("10.0.0.1"), endpoint("10.0.0.2", ready=False)]))
    api.put(endpoint_slice("other", "foreign", 8402, [endpoint("10.9.9.9")]))
    async with following(KubernetesEndpoints(NAMESPACE, "decoder", "grpc", api.client)) as found:
        assert await soon(found) == {"10.0.0.1:8402"}
        api.put(endpoint_slice("decoder", "two", 8402, [endpoint("10.0.0.3")]))
        assert await soon(found) == {"10.0.0.1:8402", "10.0.0.3:8402"}
        api.put(endpoint_slice("decoder", "one", 8402, [endpoint("10.0.0.1", ready=False, terminating=True)]))
        assert await soon(found) == {"10.0.0.3:8402"}
        api.delete("two")
        assert await soon(found) == frozenset()


async def test_a_port_is_named_or_numbered(api: KubernetesApi) -> None:
    api.put(endpoint_slice("ports", "three", 8402, [endpoint("10.0.0.1")]))
    async with following(KubernetesEndpoints(NAMESPACE, "ports", "8402", api.client)) as found:
        assert await soon(found) == {"10.0.0.1:8402"}
    async with following(KubernetesEndpoints(NAMESPACE, "ports", "metrics", api.client)) as found:
        await asyncio.sleep(0.2)
        assert found.empty()


async def test_while_the_api_is_away_what_was_known_stays() -> None:
    with running_kubernetes_api() as api:
        api.put(endpoint_slice("decoder", "one", 8402, [endpoint("10.0.0.1")]))
        async with following(KubernetesEndpoints(NAMESPACE, "decoder", "grpc", api.client)) as found:
            assert await soon(found) == {"10.0.0.1:8402"}
            api.close()
            await asyncio.sleep(0.3)
            assert found.empty()
