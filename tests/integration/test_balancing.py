"""The gateway before two decoders and two Tritons, all real, found through the EndpointSlices of a Kubernetes API."""

import io
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
import soundfile

from auricle.v1 import assistant_pb2, assistant_pb2_grpc
from services.common.errors import from_rpc_error
from services.common.server import GrpcServer
from services.encoder.publish import publish
from services.gateway.build import build
from services.gateway.settings import GatewaySettings
from services.local.platform import HOST, grpc_healthy
from services.local.process import ManagedProcess, ProcessSpec
from services.local.triton import TritonServer
from tests.checkpoints import make_official_checkpoint
from tests.kubernetes_api import NAMESPACE, KubernetesApi, endpoint, endpoint_slice, running_kubernetes_api
from tests.platform_fakes import audio, text, until, user
from tests.prompts import SAMPLE_RATE_HZ, clip
from tests.triton import free_ports, running_triton

pytestmark = pytest.mark.integration

PODS = ("one", "two")


class Service:
    """A service as a process that can be killed and started again at its address."""

    def __init__(self, kind: str, directory: Path, name: str, **variables: str) -> None:
        self.port, self.metrics_port = free_ports(2)
        own = {"HOST": HOST, "PORT": self.port, "METRICS_PORT": self.metrics_port, "DRAIN_SECONDS": 1, **variables}
        environment = {
            **os.environ,
            **{f"AURICLE_{kind.upper()}_{key}": str(value) for key, value in own.items()},
            "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path),
        }
        command = [sys.executable, "-m", f"services.{kind}"]
        spec = ProcessSpec(name, command, environment, lambda: grpc_healthy(self.port))
        self.process = ManagedProcess(spec, directory / f"{name}.log", lambda *_: None)
        self.process.start()

    def kill(self) -> None:
        """End it at once and for good, as a node that fails does."""
        assert self.process.pid
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.stop()

    def ensure(self) -> None:
        """Start it again if it was killed, and wait until it serves; on the main thread, with which it would end."""
        if self.process.exit_code is not None:
            self.process.start()
        self.process.wait_ready()

    def answers(self) -> int:
        """Requests that it has answered since it started."""
        with urllib.request.urlopen(f"http://{HOST}:{self.metrics_port}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if "request_success_total{" in line)


class Cluster:
    """Two decoders, two Tritons, one preprocess, and the API that tells where they are."""

    def __init__(self, directory: Path, api: KubernetesApi, tritons: list[TritonServer], checkpoint: Path) -> None:
        self.api = api
        self.tritons = dict(zip(PODS, tritons, strict=True))
        self.decoders = {
            pod: Service("decoder", directory, f"decoder-{pod}", CHECKPOINT=str(checkpoint), THREADS="1")
            for pod in PODS
        }
        self.preprocess = Service("preprocess", directory, "preprocess")

    def restore(self) -> None:
        """All are there and ready."""
        for service in (*self.decoders.values(), self.preprocess):
            service.ensure()
        for pod in PODS:
            self.list_decoder(pod)
            self.list_triton(pod)

    def list_decoder(self, pod: str, *, draining: bool = False) -> None:
        state = endpoint(HOST, ready=not draining, terminating=draining)
        self.api.put(endpoint_slice("decoder", f"decoder-{pod}", self.decoders[pod].port, [state]))

    def list_triton(self, pod: str) -> None:
        port = int(self.tritons[pod].grpc_address.rpartition(":")[2])
        self.api.put(endpoint_slice("encoder", f"encoder-{pod}", port, [endpoint(HOST)]))

    def stop(self) -> None:
        for service in (*self.decoders.values(), self.preprocess):
            service.process.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    checkpoint = make_official_checkpoint(directory / "checkpoint")
    # No answer ends by itself, so that streams are there to be broken.
    (checkpoint / "generation_config.json").write_text('{"eos_token_id": [511]}')
    publish(checkpoint, directory / "repository")
    with ExitStack() as stack:
        api = stack.enter_context(running_kubernetes_api())
        homes = [directory / pod for pod in PODS]
        for home in homes:
            home.mkdir()
        tritons = [stack.enter_context(running_triton(directory / "repository", home, threads=1)) for home in homes]
        made = Cluster(directory, api, tritons, checkpoint)
        stack.callback(made.stop)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBECONFIG", str(api.kubeconfig(directory)))
            yield made


@asynccontextmanager
async def gateway(cluster: Cluster) -> AsyncIterator[assistant_pb2_grpc.AssistantServiceStub]:
    """A gateway and a caller that never tries again by itself."""
    settings = GatewaySettings(
        port=0,
        metrics_port=0,
        drain_seconds=0.1,
        store_url="memory://",
        preprocess_address=f"{HOST}:{cluster.preprocess.port}",
        encoder_address=f"k8s:///{NAMESPACE}/encoder:grpc",
        decoder_address=f"k8s:///{NAMESPACE}/decoder:grpc",
    )
    options = [("grpc.enable_retries", 0)]
    async with (
        GrpcServer(build(settings), settings) as server,
        grpc.aio.insecure_channel(f"{HOST}:{server.port}", options) as channel,
    ):
        stub = assistant_pb2_grpc.AssistantServiceStub(channel)

        async def ready() -> bool:
            status = await stub.GetModel(assistant_pb2.GetModelRequest(), timeout=20)
            details = [service.detail for service in status.services]
            return status.ready and sum("2 of 2" in detail for detail in details) >= 1

        await until(ready, 60)
        yield stub


@pytest.fixture
async def stub(cluster: Cluster) -> AsyncIterator[assistant_pb2_grpc.AssistantServiceStub]:
    cluster.restore()
    async with gateway(cluster) as connected:
        yield connected


def asked(seed: int, words: str = "What is it?", tokens: int = 4) -> assistant_pb2.ChatRequest:
    """A question about a clip of one second."""
    wav = io.BytesIO()
    soundfile.write(wav, clip(1.0, seed), SAMPLE_RATE_HZ, format="WAV")
    request = assistant_pb2.ChatRequest(messages=[user(audio(wav.getvalue()), text(words))])
    request.config.max_output_tokens = tokens
    return request


async def ask_all(
    stub: assistant_pb2_grpc.AssistantServiceStub, seeds: range, words: str = "What is it?"
) -> list[assistant_pb2.ChatResponse]:
    """One answer after the other."""
    return [await stub.Chat(asked(seed, words), timeout=60) for seed in seeds]


def homes(cluster: Cluster, before: dict[str, int]) -> dict[str, int]:
    """Answers of each decoder since."""
    return {pod: service.answers() - before.get(pod, 0) for pod, service in cluster.decoders.items()}


async def test_conversations_are_spread_and_each_goes_back_to_the_decoder_that_knows_it(
    cluster: Cluster, stub: assistant_pb2_grpc.AssistantServiceStub
) -> None:
    start = homes(cluster, {})
    first = await ask_all(stub, range(100, 112))
    spread = homes(cluster, start)
    assert all(count > 0 for count in spread.values())
    second = await ask_all(stub, range(100, 112), "Is it music?")
    assert homes(cluster, start) == {pod: 2 * count for pod, count in spread.items()}
    # All prompts begin alike; what comes back with its decoder is the audio.
    for before, after in zip(first, second, strict=True):
        assert after.usage.cached_prompt_tokens >= before.usage.cached_prompt_tokens + before.usage.audio_tokens // 2


async def test_a_decoder_killed_mid_stream_breaks_its_streams_alone_and_gets_its_conversations_back(
    cluster: Cluster, stub: assistant_pb2_grpc.AssistantServiceStub
) -> None:
    start = homes(cluster, {})
    await stub.Chat(asked(200), timeout=60)
    [home] = [pod for pod, count in homes(cluster, start).items() if count]
    stream = stub.StreamChat(assistant_pb2.StreamChatRequest(chat=asked(200, tokens=2000)), timeout=120)
    await stream.read()
    cluster.decoders[home].kill()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        while await stream.read() is not grpc.aio.EOF:
            continue
    error = from_rpc_error(raised.value, "gateway")
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error.retry_after_seconds is not None
    # Not one of them fails, though half of them would rather go to the one that is gone.
    assert len(await ask_all(stub, range(200, 206))) == 6
    cluster.restore()

    async def is_home_again() -> bool:
        answers = cluster.decoders[home].answers()
        await stub.Chat(asked(200), timeout=60)
        return cluster.decoders[home].answers() == answers + 1

    await until(is_home_again, 60)


async def test_a_draining_decoder_finishes_its_stream_and_gets_no_new_request(
    cluster: Cluster, stub: assistant_pb2_grpc.AssistantServiceStub
) -> None:
    start = homes(cluster, {})
    await stub.Chat(asked(300), timeout=60)
    [home] = [pod for pod, count in homes(cluster, start).items() if count]
    stream = stub.StreamChat(assistant_pb2.StreamChatRequest(chat=asked(300, tokens=600)), timeout=120)
    await stream.read()
    cluster.list_decoder(home, draining=True)

    async def left() -> bool:
        model = await stub.GetModel(assistant_pb2.GetModelRequest(), timeout=20)
        return not any("2 of 2" in s.detail for s in model.services if s.service == "decoder")

    await until(left, 20)
    assert len(await ask_all(stub, range(300, 306))) == 6
    piece = await stream.read()
    while not piece.HasField("summary"):
        piece = await stream.read()
    assert piece.summary.usage.output_tokens == 600
    assert homes(cluster, start)[home] == 2


async def test_a_decoder_that_is_added_gets_its_part(
    cluster: Cluster, stub: assistant_pb2_grpc.AssistantServiceStub
) -> None:
    cluster.api.delete("decoder-two")

    async def alone() -> bool:
        before = homes(cluster, {})
        await ask_all(stub, range(400, 406))
        return homes(cluster, before)["two"] == 0

    await until(alone, 60)
    cluster.list_decoder("two")

    async def shared() -> bool:
        before = homes(cluster, {})
        await ask_all(stub, range(400, 406))
        return all(count > 0 for count in homes(cluster, before).values())

    await until(shared, 60)


async def test_a_lost_triton_fails_no_request(cluster: Cluster, stub: assistant_pb2_grpc.AssistantServiceStub) -> None:
    cluster.tritons["one"].stop()
    try:
        answers = await ask_all(stub, range(500, 508))
        assert all(answer.usage.cached_tokens == 0 and answer.text for answer in answers)
    finally:
        cluster.tritons["one"].start()
