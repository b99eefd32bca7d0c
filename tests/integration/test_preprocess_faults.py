"""Children that die and callers that vanish: each fault costs one call at most, and its place is free again."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import psutil
import pytest

from auricle.v1 import audio_pb2
from services.common.errors import from_rpc_error
from tests.preprocess_server import (
    Heard,
    PreprocessCaller,
    RunningPreprocess,
    caller_of,
    chunk_message,
    config_message,
    rest_of,
    running_preprocess,
    until,
)

pytestmark = pytest.mark.integration

RAW = audio_pb2.RawPcm(sample_rate_hz=16_000, channels=1, sample_format=audio_pb2.SAMPLE_FORMAT_S16LE)
SECOND = bytes(32_000)
PLACES = 2


@pytest.fixture(scope="module")
def service() -> Iterator[RunningPreprocess]:
    with running_preprocess(
        max_concurrent=PLACES,
        max_queue=1,
        max_queue_seconds=1.0,
        idle_children=1,
        reader_stall_seconds=1.0,
        child_cpu_seconds=2,
        child_memory_bytes=16 * 2**20,
    ) as service:
        yield service


@pytest.fixture
async def caller(service: RunningPreprocess) -> AsyncIterator[PreprocessCaller]:
    async with caller_of(service) as caller:
        yield caller
        # Whatever happened, every place is free again.
        heard = await asyncio.gather(*(caller.hear(SECOND, raw_pcm=RAW) for _ in range(PLACES)))
        assert all(one.summary for one in heard), [one.error for one in heard]


async def begun(caller: PreprocessCaller, **config: Any) -> Any:
    """A call in the middle of its recording, one window of it heard."""
    call = caller.call()
    await call.write(config_message(raw_pcm=RAW, max_window_seconds=1.0, **config))
    await call.write(chunk_message(2 * SECOND))
    await asyncio.wait_for(call.read(), 10)
    return call


async def error_of(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asyncio.wait_for(rest_of(call), 10)
    return from_rpc_error(raised.value, "preprocess")


async def busy_child(service: RunningPreprocess, caller: PreprocessCaller, *others: int) -> tuple[Any, int]:
    """A call in the middle of its recording, and the process id of its child: the idle one, apart from `others`."""
    await until(lambda: len(service.children() - set(others)) == 1)
    (pid,) = service.children() - set(others)
    return await begun(caller), pid


@pytest.mark.parametrize(
    ("number", "reason", "code"),
    [
        (signal.SIGSEGV, "AUDIO_CRASHED_DECODER", grpc.StatusCode.INVALID_ARGUMENT),
        (signal.SIGABRT, "AUDIO_CRASHED_DECODER", grpc.StatusCode.INVALID_ARGUMENT),
        (signal.SIGKILL, "CHILD_LOST", grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_a_child_that_dies_fails_its_own_call_alone(
    service: RunningPreprocess, caller: PreprocessCaller, number: signal.Signals, reason: str, code: grpc.StatusCode
) -> None:
    other, other_pid = await busy_child(service, caller)
    call, pid = await busy_child(service, caller, other_pid)
    os.kill(pid, number)
    error = await error_of(call)
    assert (error.reason, error.code) == (reason, code)
    await other.done_writing()
    assert (await rest_of(other))[-1].summary.heard_seconds == pytest.approx(2.0)


async def test_processor_time_beyond_the_limit_is_told(caller: PreprocessCaller) -> None:
    heard = await caller.hear(bytes(32_000 * 1800), raw_pcm=RAW)
    assert heard.error is not None
    assert (heard.reason, heard.error.code) == ("AUDIO_CPU_EXCEEDED", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert heard.error.metadata == {"limit_seconds": "2"}
    assert heard.error.retry_after_seconds is None


async def test_memory_beyond_the_limit_is_told(caller: PreprocessCaller) -> None:
    slow = audio_pb2.RawPcm(sample_rate_hz=1_000, channels=1, sample_format=audio_pb2.SAMPLE_FORMAT_S16LE)
    heard = await caller.hear_messages([config_message(raw_pcm=slow), chunk_message(bytes(2**20))])
    assert heard.error is not None
    assert (heard.reason, heard.error.code) == ("AUDIO_MEMORY_EXCEEDED", grpc.StatusCode.RESOURCE_EXHAUSTED)


async def test_a_cancelled_call_ends_its_child_at_once(service: RunningPreprocess, caller: PreprocessCaller) -> None:
    call, pid = await busy_child(service, caller)
    # A process that is stopped can hear nothing: it ends only when it is killed.
    os.kill(pid, signal.SIGSTOP)
    call.cancel()
    await until(lambda: not psutil.pid_exists(pid), 1.0)


async def test_a_caller_who_vanishes_in_mid_upload_ends_its_child(service: RunningPreprocess) -> None:
    async with caller_of(service) as vanishing:
        _, pid = await busy_child(service, vanishing)
    await until(lambda: not psutil.pid_exists(pid), 2.0)


async def test_a_caller_who_stops_reading_loses_its_place_and_is_told(
    service: RunningPreprocess, caller: PreprocessCaller
) -> None:
    call, pid = await busy_child(service, caller)

    async def send() -> None:
        for _ in range(200):
            await call.write(chunk_message(10 * SECOND))

    lines = len(service.log)
    sending = asyncio.create_task(send())
    await until(lambda: not psutil.pid_exists(pid), 10.0)
    await until(lambda: any('"event": "call"' in line for line in service.log[lines:]))
    error = await error_of(call)
    assert (error.reason, error.code) == ("READER_STALLED", grpc.StatusCode.DEADLINE_EXCEEDED)
    await asyncio.gather(sending, return_exceptions=True)


async def test_past_the_queue_callers_are_told_when_to_come_again(caller: PreprocessCaller) -> None:
    running = [await begun(caller) for _ in range(PLACES)]
    waiting = asyncio.create_task(caller.hear(SECOND, raw_pcm=RAW))
    await asyncio.sleep(0.2)
    start = time.monotonic()
    refused = await caller.hear(SECOND, raw_pcm=RAW)
    assert time.monotonic() - start < 0.5
    timed_out = await waiting
    for heard in (refused, timed_out):
        assert heard.error is not None
        assert (heard.reason, heard.error.code) == ("PREPROCESS_BUSY", grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert heard.error.retry_after_seconds
    for call in running:
        call.cancel()


async def test_a_waiting_call_takes_the_place_that_comes_free(caller: PreprocessCaller) -> None:
    running = [await begun(caller) for _ in range(PLACES)]
    waiting = asyncio.create_task(caller.hear(SECOND, raw_pcm=RAW))
    await asyncio.sleep(0.2)
    running[0].cancel()
    assert (await waiting).summary is not None
    running[1].cancel()


async def test_a_zygote_that_dies_is_started_again(service: RunningPreprocess, caller: PreprocessCaller) -> None:
    zygote = service.zygote()
    call = await begun(caller)
    zygote.kill()
    assert (await error_of(call)).reason == "CHILD_LOST"
    heard: Heard = await caller.hear(SECOND, raw_pcm=RAW)
    assert heard.summary is not None
    assert service.zygote().pid != zygote.pid


async def test_nothing_is_left_when_the_service_ends() -> None:
    with running_preprocess(idle_children=2) as service:
        processes = [service.process, service.zygote(), *service.zygote().children()]
        async with caller_of(service) as caller:
            await begun(caller)
            service.process.kill()
            await until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes), 5.0)
    assert len(processes) == 4
