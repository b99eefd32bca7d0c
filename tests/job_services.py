"""The services behind the workers as processes that can be killed: `python -m tests.job_services SERVICE PORT LOG`.

They are the fakes of tests.platform_fakes on real wires; the encoder speaks KServe v2 as Triton does. Each writes a
line to LOG for every window that it worked on. What the decoder is told in its prompt it does: "[wait SECONDS]" answers
later, "[refuse MARK]" refuses audio with that mark.
"""

import argparse
import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from auricle.v1 import decoder_pb2
from services.common.errors import InvalidArgument
from services.common.server import GrpcServer
from tests.platform_fakes import (
    FINGERPRINT,
    HIDDEN_SIZE,
    MEL_BINS,
    FakeDecoder,
    FakePreprocess,
    serve_decoder,
    serve_preprocess,
    served,
)

ENCODE_SECONDS = 0.02


class WindowLog:
    """Counts what was worked on, over deaths of the process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, line: str) -> None:
        """Note one window; a line is written at once or not at all."""
        with self._path.open("a") as log:
            log.write(line + "\n")


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """As much of Triton as EncoderClient asks for; every embedding holds the window's mark."""

    def __init__(self, log: WindowLog) -> None:
        self._log = log

    async def ModelReady(self, request: Any, context: Any) -> Any:
        return service_pb2.ModelReadyResponse(ready=True)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        return service_pb2.ModelMetadataResponse(
            name=request.name,
            versions=["1"],
            inputs=[tensor(name="features", datatype="FP32", shape=[1, MEL_BINS, -1])],
            outputs=[tensor(name="embeddings", datatype="FP32", shape=[1, -1, HIDDEN_SIZE])],
        )

    async def ModelConfig(self, request: Any, context: Any) -> Any:
        config = model_config_pb2.ModelConfig(name=request.name)
        config.parameters["fingerprint_1"].string_value = FINGERPRINT
        return service_pb2.ModelConfigResponse(config=config)

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        features = np.frombuffer(request.raw_input_contents[0], np.float32)
        num_frames = int(np.frombuffer(request.raw_input_contents[1], np.int32)[0])
        await asyncio.sleep(ENCODE_SECONDS)
        embeddings = np.full((1, num_frames // 4, HIDDEN_SIZE), features[0], np.float32)
        self._log.add(f"encode {int(features[0])}x{num_frames // 4}")
        tensor = service_pb2.ModelInferResponse.InferOutputTensor
        return service_pb2.ModelInferResponse(
            model_name=request.model_name,
            model_version="1",
            outputs=[
                tensor(name="embeddings", datatype="FP32", shape=embeddings.shape),
                tensor(name="compute_ms", datatype="FP32", shape=[1, 1]),
            ],
            raw_output_contents=[embeddings.tobytes(), np.full((1, 1), ENCODE_SECONDS * 1000, np.float32).tobytes()],
        )


class ObedientDecoder(FakeDecoder):
    """Does what its prompt says before it answers."""

    def __init__(self, log: WindowLog) -> None:
        super().__init__()
        self._log = log

    async def Generate(
        self, request: decoder_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[decoder_pb2.GenerateResponse]:
        prompt = " ".join(self._words(request))
        if wait := re.search(r"\[wait ([\d.]+)\]", prompt):
            await asyncio.sleep(float(wait[1]))
        if (refuse := re.search(r"\[refuse (\d+)\]", prompt)) and f"<{refuse[1]}x" in prompt:
            raise InvalidArgument("this window is poison", reason="POISON")
        async for response in super().Generate(request, context):
            yield response
        self._log.add(f"decode {prompt[:40]!r}")


def server(service: str, port: int, log: Path) -> GrpcServer:
    """The server of that service; not started yet."""
    windows = WindowLog(log)
    if service == "preprocess":
        return serve_preprocess(FakePreprocess(), port)
    if service == "decoder":
        return serve_decoder(ObedientDecoder(windows), port)
    return served("encoder", service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, FakeTriton(windows), port)


async def _serve(service: str, port: int, log: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server(service, port, log):
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("service", choices=("preprocess", "encoder", "decoder"))
    parser.add_argument("port", type=int)
    parser.add_argument("log", type=Path)
    given = parser.parse_args()
    grpc.aio.init_grpc_aio()
    asyncio.run(_serve(given.service, given.port, given.log))
