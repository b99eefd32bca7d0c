"""The preprocess service as a process on a free port, and a client for tests."""

import asyncio
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import psutil

from auricle.v1 import preprocess_pb2, preprocess_pb2_grpc
from services.common.errors import AuricleError, from_rpc_error

START_SECONDS = 60.0
DEADLINE_SECONDS = 60.0
CHUNK_BYTES = 2**16


@dataclass
class RunningPreprocess:
    """A service that serves, and what it has written to its log."""

    address: str
    process: psutil.Process
    log: list[str]

    def zygote(self) -> psutil.Process:
        """The process that forks children."""
        (zygote,) = self.process.children()
        return zygote

    def children(self) -> set[int]:
        """Process ids of the children, idle or busy."""
        return {child.pid for child in self.zygote().children() if child.status() != psutil.STATUS_ZOMBIE}


@contextmanager
def running_preprocess(**settings: object) -> Iterator[RunningPreprocess]:
    """Start the service; `settings` are its variables without prefix, in lower case."""
    variables = {"port": 0, "metrics_port": 0, **settings}
    environment = {
        **os.environ,
        **{f"AURICLE_PREPROCESS_{name.upper()}": str(value) for name, value in variables.items()},
        "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "services.preprocess"], env=environment, stderr=subprocess.PIPE, text=True
    )
    log: list[str] = []
    addresses: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_log, args=(process, log, addresses), daemon=True).start()
    try:
        address = addresses.get(timeout=START_SECONDS)
        if not address:
            raise RuntimeError("preprocess did not start:\n" + "\n".join(log))
        yield RunningPreprocess(address, psutil.Process(process.pid), log)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _read_log(process: subprocess.Popen[str], log: list[str], addresses: "queue.Queue[str]") -> None:
    assert process.stderr
    for line in process.stderr:
        log.append(line.rstrip())
        if '"event": "serving"' in line:
            addresses.put(json.loads(line)["address"])
    addresses.put("")


@dataclass
class Heard:
    """What came back of one recording: windows, and the summary or the error."""

    windows: list[preprocess_pb2.PreprocessedWindow] = field(default_factory=list)
    summary: preprocess_pb2.PreprocessSummary | None = None
    error: AuricleError | None = None
    seconds: float = 0.0

    @property
    def reason(self) -> str:
        """The error's reason; "" when there is none."""
        return self.error.reason if self.error else ""


def config_message(**config: Any) -> preprocess_pb2.PreprocessRequest:
    """The first message of a call."""
    return preprocess_pb2.PreprocessRequest(config=preprocess_pb2.PreprocessConfig(**{"mel_bins": 80, **config}))


def chunk_message(chunk: bytes) -> preprocess_pb2.PreprocessRequest:
    """A later message of a call."""
    return preprocess_pb2.PreprocessRequest(chunk=chunk)


class PreprocessCaller:
    """Sends recordings to a service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = preprocess_pb2_grpc.PreprocessServiceStub(channel)

    def call(self, **options: Any) -> Any:
        """A bare call, to write and read message by message."""
        return self._stub.Preprocess(**options)

    async def hear(self, data: bytes, **config: Any) -> Heard:
        """Send a whole file and take all that comes back."""
        chunks = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
        return await self.hear_messages([config_message(**config), *map(chunk_message, chunks)])

    async def hear_messages(self, messages: list[preprocess_pb2.PreprocessRequest]) -> Heard:
        """Send these very messages and take all that comes back."""
        heard, start = Heard(), time.monotonic()
        try:
            async for response in self._stub.Preprocess(iter(messages), timeout=DEADLINE_SECONDS):
                if response.HasField("window"):
                    heard.windows.append(response.window)
                else:
                    heard.summary = response.summary
        except grpc.aio.AioRpcError as error:
            heard.error = from_rpc_error(error, "preprocess")
        heard.seconds = time.monotonic() - start
        return heard


@asynccontextmanager
async def caller_of(service: RunningPreprocess) -> AsyncIterator[PreprocessCaller]:
    """A client with a channel of its own."""
    options = [("grpc.max_receive_message_length", 2**26)]
    async with grpc.aio.insecure_channel(service.address, options=options) as channel:
        yield PreprocessCaller(channel)


async def rest_of(call: Any) -> list[preprocess_pb2.PreprocessResponse]:
    """All that a bare call still answers."""
    responses: list[preprocess_pb2.PreprocessResponse] = []
    while (response := await call.read()) is not grpc.aio.EOF:
        responses.append(response)
    return responses


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition; fail when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {seconds} s")
        await asyncio.sleep(0.02)
