"""Do encoder and decoder scale apart? Throughput with 1, 2, 4 and 8 replicas of the one, and enough of the other.

    python -m tests.load.bench_scale

The devices are simulated: servers on the true wires (KServe v2, and the decoder's gRPC behind the platform's own shell)
that sleep in place of a GPU, one request at a time each. The gateway, its balancing and every gRPC hop are real. So it
shows what the platform loses on the way to many devices, and says nothing about their speed.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import grpc
from tritonclient.grpc import service_pb2_grpc

from auricle.v1 import assistant_pb2, assistant_pb2_grpc, decoder_pb2
from services.common import telemetry
from services.local.platform import HOST, grpc_healthy
from services.local.process import ManagedProcess, ProcessSpec
from tests.job_services import FakeTriton, WindowLog
from tests.platform_fakes import (
    FakeDecoder,
    FakePreprocess,
    audio,
    recording,
    serve_decoder,
    serve_preprocess,
    served,
    text,
    user,
)
from tests.triton import free_ports

REPLICAS = (1, 2, 4, 8)
BUSY_SECONDS = 0.2
IDLE_SECONDS = 0.01
IN_FLIGHT_PER_REPLICA = 6
Kind = Literal["encoder", "decoder"]


class SleepingTriton(FakeTriton):
    """A device that encodes one clip at a time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(WindowLog(Path(os.devnull)))
        self._device, self._seconds = asyncio.Lock(), seconds

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        async with self._device:
            await asyncio.sleep(self._seconds)
        return await super().ModelInfer(request, context)


class SleepingDecoder(FakeDecoder):
    """A device that answers one request at a time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._device, self._seconds = asyncio.Lock(), seconds

    async def Generate(
        self, request: decoder_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[decoder_pb2.GenerateResponse]:
        async with self._device:
            await asyncio.sleep(self._seconds)
        async for response in super().Generate(request, context):
            yield response


async def serve_devices(encoder_seconds: float, decoder_seconds: float) -> None:
    """Serve preprocess and the most replicas of both kinds until standard input ends; their ports go to its output."""
    add = service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server
    async with AsyncExitStack() as stack:
        preprocess = await stack.enter_async_context(serve_preprocess(FakePreprocess()))
        ports: dict[str, list[int]] = {"preprocess": [preprocess.port], "encoder": [], "decoder": []}
        for _ in range(max(REPLICAS)):
            encoder = served("encoder", add, SleepingTriton(encoder_seconds))
            decoder = serve_decoder(SleepingDecoder(decoder_seconds))
            ports["encoder"].append((await stack.enter_async_context(encoder)).port)
            ports["decoder"].append((await stack.enter_async_context(decoder)).port)
        print(json.dumps(ports), flush=True)
        await asyncio.to_thread(sys.stdin.read)


@dataclass(frozen=True)
class Point:
    """Throughput with some replicas; `linear_share` is that of the replicas times one replica's."""

    kind: Kind
    replicas: int
    requests: int
    requests_per_second: float
    linear_share: float


async def throughput(address: str, requests: int, in_flight: int) -> float:
    """Requests per second, each about a recording that nobody sent before."""
    slots = asyncio.Semaphore(in_flight)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = assistant_pb2_grpc.AssistantServiceStub(channel)

        async def ask(number: int) -> None:
            content = recording(f"{address} {number} {time.time_ns()}")
            async with slots:
                await stub.Chat(
                    assistant_pb2.ChatRequest(messages=[user(audio(content), text("What is it?"))]), timeout=60
                )

        await ask(-1)
        started = time.perf_counter()
        await asyncio.gather(*(ask(number) for number in range(requests)))
        return requests / (time.perf_counter() - started)


def measure(kind: Kind, seconds: float) -> list[Point]:
    """One sweep over the replicas of a kind; each point takes about `seconds`."""
    busy = {"encoder": IDLE_SECONDS, "decoder": IDLE_SECONDS, kind: BUSY_SECONDS}
    command = [sys.executable, "-m", "tests.load.bench_scale", "--serve", str(busy["encoder"]), str(busy["decoder"])]
    points: list[Point] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as devices:
        assert devices.stdout
        ports = json.loads(devices.stdout.readline())
        for replicas in REPLICAS:
            used = {**ports, kind: ports[kind][:replicas]}
            requests = int(seconds * replicas / BUSY_SECONDS)
            rate = _through_gateway(used, requests, IN_FLIGHT_PER_REPLICA * replicas)
            linear = replicas * (points[0].requests_per_second if points else rate)
            points.append(Point(kind, replicas, requests, round(rate, 2), round(rate / linear, 3)))
            print(f"{kind:<9}{replicas:>9}{rate:>16.2f}{rate / linear:>16.3f}", flush=True)
    return points


def _through_gateway(ports: dict[str, Sequence[int]], requests: int, in_flight: int) -> float:
    """The rate of a gateway of its own before these services."""
    [port] = free_ports(1)
    own = {f"{kind.upper()}_ADDRESS": ",".join(f"{HOST}:{p}" for p in found) for kind, found in ports.items()}
    own |= {"PORT": str(port), "METRICS_PORT": "0", "STORE_URL": "memory://", "MAX_CONCURRENT_CHATS": str(in_flight)}
    environment = {
        **os.environ,
        **{f"AURICLE_GATEWAY_{key}": value for key, value in own.items()},
        "AURICLE_LOG_LEVEL": "ERROR",
    }
    command = [sys.executable, "-m", "services.gateway"]
    spec = ProcessSpec("gateway", command, environment, lambda: grpc_healthy(port))
    with tempfile.TemporaryDirectory() as logs:
        gateway = ManagedProcess(spec, Path(logs) / "gateway.log", lambda *_: None)
        gateway.start()
        try:
            gateway.wait_ready()
            return asyncio.run(throughput(f"{HOST}:{port}", requests, in_flight))
        finally:
            gateway.stop()


def main() -> None:
    """Print both sweeps, and write them as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long each point takes")
    parser.add_argument("--json", type=Path, help="file for the raw figures")
    parser.add_argument("--serve", nargs=2, type=float, metavar="SECONDS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        telemetry.setup_logging("devices", "ERROR")
        asyncio.run(serve_devices(*arguments.serve))
        return
    print(f"simulated devices: a sleep of {BUSY_SECONDS * 1000:.0f} ms in place of a GPU, one request at a time each")
    print(f"{'kind':<9}{'replicas':>9}{'requests/s':>16}{'share of linear':>16}")
    points = [*measure("encoder", arguments.seconds), *measure("decoder", arguments.seconds)]
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps([asdict(point) for point in points], indent=2))


if __name__ == "__main__":
    main()
