"""What travels with a call over every hop: trace, request id, deadline."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from services.common.interceptors import REQUEST_ID_KEY
from services.common.telemetry import trace_headers
from tests.platform_fakes import audio, recording, running_platform, text, trace_id, user

pytestmark = pytest.mark.integration

UNSET = "0" * 32


@pytest.fixture(scope="module", autouse=True)
def tracing() -> None:
    """Spans are made; they go nowhere. The provider of a process can be set once."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())


async def test_one_trace_runs_through_every_service() -> None:
    async with running_platform() as platform:
        with trace.get_tracer("test").start_as_current_span("caller"):
            expected = trace_id()
            await platform.chat(user(audio(recording("a")), text("what?")), metadata=tuple(trace_headers().items()))
        assert expected != UNSET
        assert platform.preprocess.seen[0].trace_id == expected
        assert platform.decoder.seen[0].trace_id == expected
        assert platform.encoder.headers[0]["traceparent"].split("-")[1] == expected


async def test_two_calls_are_two_traces() -> None:
    async with running_platform() as platform:
        for _ in range(2):
            await platform.chat(user(audio(recording("a")), text("what?")))
        first, second = (seen.trace_id for seen in platform.decoder.seen)
    assert UNSET not in (first, second)
    assert first != second


async def test_the_callers_request_id_reaches_every_service() -> None:
    async with running_platform() as platform:
        await platform.chat(user(audio(recording("a"))), metadata=((REQUEST_ID_KEY, "call-7"),))
        assert platform.preprocess.seen[0].request_id == "call-7"
        assert platform.decoder.seen[0].request_id == "call-7"
        assert platform.encoder.headers[0][REQUEST_ID_KEY] == "call-7"


async def test_every_hop_gets_what_is_left_of_the_callers_time() -> None:
    async with running_platform() as platform:
        platform.preprocess.delay_seconds = 0.5
        await platform.chat(user(audio(recording("a"))), timeout=5)
        assert 4.6 < platform.preprocess.seen[0].remaining_seconds < 5
        assert 3.5 < platform.encoder.timeouts[0] < 4.5
        assert 3.5 < platform.decoder.seen[0].remaining_seconds < 4.5


async def test_a_call_without_a_deadline_brings_the_gateways_to_every_hop() -> None:
    async with running_platform(default_deadline_seconds=7) as platform:
        await platform.chat(user(audio(recording("a"))), timeout=None)
        assert 7 > platform.preprocess.seen[0].remaining_seconds > platform.decoder.seen[0].remaining_seconds > 5
