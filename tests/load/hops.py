"""What gRPC alone takes on the way of a question: the same messages between processes that do nothing with them.

    python -m tests.load.hops

A process with the platform's own server shell answers at once, with messages of the size that a real answer has.
Measured are the hops of a question about a 5 s clip that our services serve: client to gateway, gateway to preprocess,
gateway to decoder. The hop to Triton is not among them.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from auricle.v1 import (
    assistant_pb2,
    assistant_pb2_grpc,
    audio_pb2,
    decoder_pb2,
    decoder_pb2_grpc,
    preprocess_pb2,
    preprocess_pb2_grpc,
)
from services.common import telemetry
from services.common.channels import connect
from services.common.server import GrpcServer, Service
from services.common.settings import ServerSettings

CALLS = 60
WARM_UP = 10
PAUSE_SECONDS = 0.05
CLIP_BYTES = 5 * 16_000 * 4
CHUNK_BYTES = 2**18
MEL_BYTES = 80 * 502 * 4
EMBEDDING_BYTES = 125 * 576 * 4
MAX_MESSAGE_BYTES = 2**26


class Idle(
    assistant_pb2_grpc.AssistantServiceServicer,
    preprocess_pb2_grpc.PreprocessServiceServicer,
    decoder_pb2_grpc.DecoderServiceServicer,
):
    """Takes what real services take, and answers what they answer, without looking at it."""

    async def StreamChat(self, request: Any, context: Any) -> AsyncIterator[assistant_pb2.StreamChatResponse]:
        """A word, then a summary."""
        yield assistant_pb2.StreamChatResponse(text_delta="word")
        yield assistant_pb2.StreamChatResponse(summary=assistant_pb2.ChatResponse(text="word"))

    async def Preprocess(
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[preprocess_pb2.PreprocessResponse]:
        """One window once all chunks have come, then the summary."""
        async for _ in requests:
            pass
        features = audio_pb2.Tensor(data=bytes(MEL_BYTES))
        log_mel = audio_pb2.LogMel(features=features)
        yield preprocess_pb2.PreprocessResponse(window=preprocess_pb2.PreprocessedWindow(log_mel=log_mel))
        yield preprocess_pb2.PreprocessResponse(summary=preprocess_pb2.PreprocessSummary())

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[decoder_pb2.GenerateResponse]:
        """A word, then the completion."""
        yield decoder_pb2.GenerateResponse(text_delta="word")
        yield decoder_pb2.GenerateResponse(completion=decoder_pb2.Completion())


def _register(server: grpc.aio.Server) -> None:
    idle = Idle()
    assistant_pb2_grpc.add_AssistantServiceServicer_to_server(idle, server)
    preprocess_pb2_grpc.add_PreprocessServiceServicer_to_server(idle, server)
    decoder_pb2_grpc.add_DecoderServiceServicer_to_server(idle, server)


async def serve() -> None:
    """Until standard input ends."""
    telemetry.setup_logging("idle")
    settings = ServerSettings(port=0, max_message_bytes=MAX_MESSAGE_BYTES)
    async with GrpcServer(Service("idle", [], _register), settings) as server:
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def _chunks() -> AsyncIterator[preprocess_pb2.PreprocessRequest]:
    yield preprocess_pb2.PreprocessRequest(config=preprocess_pb2.PreprocessConfig(mel_bins=80))
    for start in range(0, CLIP_BYTES, CHUNK_BYTES):
        yield preprocess_pb2.PreprocessRequest(chunk=bytes(min(CHUNK_BYTES, CLIP_BYTES - start)))


def _question() -> assistant_pb2.StreamChatRequest:
    request = assistant_pb2.StreamChatRequest()
    request.chat.messages.add().content.add().audio.data = bytes(CLIP_BYTES)
    return request


def _prompt() -> decoder_pb2.GenerateRequest:
    request = decoder_pb2.GenerateRequest()
    request.messages.add().parts.add().audio.windows.add(data=bytes(EMBEDDING_BYTES))
    return request


async def hops_ms(port: int) -> dict[str, float]:
    """Median milliseconds of each hop until its first answer (preprocess: its last)."""
    medians = {}
    async with connect(f"127.0.0.1:{port}", max_message_bytes=MAX_MESSAGE_BYTES) as channel:
        calls = {
            "client to gateway": lambda: assistant_pb2_grpc.AssistantServiceStub(channel).StreamChat(_question()),
            "gateway to preprocess": lambda: preprocess_pb2_grpc.PreprocessServiceStub(channel).Preprocess(_chunks()),
            "gateway to decoder": lambda: decoder_pb2_grpc.DecoderServiceStub(channel).Generate(_prompt()),
        }
        for name, call in calls.items():
            times = []
            for _ in range(WARM_UP + CALLS):
                started = time.perf_counter()
                arrivals = [time.perf_counter() async for _ in call()]
                times.append(1000 * (arrivals[-1 if name.endswith("preprocess") else 0] - started))
                await asyncio.sleep(PAUSE_SECONDS)
            medians[name] = statistics.median(times[WARM_UP:])
    return medians


def measure() -> dict[str, float]:
    """Start the idle process, measure each hop, end the process."""
    command = [sys.executable, "-m", "tests.load.hops", "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        return asyncio.run(hops_ms(port))


def main() -> None:
    """Print the hops and their sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help="be the idle process (used by the measurement itself)")
    if parser.parse_args().serve:
        asyncio.run(serve())
        return
    hops = measure()
    for name, milliseconds in {**hops, "together": sum(hops.values())}.items():
        print(f"{name:<24}{milliseconds:>8.1f} ms")


if __name__ == "__main__":
    main()
