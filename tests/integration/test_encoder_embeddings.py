"""Triton's embeddings are transformers', alone and in batches, and a bad clip harms nobody but its sender."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import pytest
import torch
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from services.common.errors import InvalidArgument
from services.encoder.parity import TOLERANCE, max_difference, synthetic_clip
from services.encoder.publish import Published, publish
from services.encoder.settings import EncoderSettings
from services.local.triton import TritonServer
from services.pipeline.encoder_client import EncodedAudio, EncoderClient
from services.qwen2_audio.config import audio_config, text_config
from services.qwen2_audio.mel import LogMel, log_mel
from services.qwen2_audio.mini import assemble
from services.qwen2_audio.weights import Checkpoint
from tests.checkpoints import make_official_checkpoint
from tests.reference import Reference
from tests.triton import Gate, running_triton, settled_counters, until_waiting

pytestmark = pytest.mark.integration

SECONDS = (30.0, 0.1, 0.73, 2.0, 5.0, 17.9)
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Served:
    """A checkpoint, the Triton that serves its audio half, and what transformers makes of the clips."""

    checkpoint: Checkpoint
    published: Published
    server: TritonServer
    gate: Gate
    mels: dict[float, LogMel]
    expected: dict[float, torch.Tensor]


@pytest.fixture(scope="module", params=["auricle-mini", "official"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("encoder")
    repository = directory / "repository"
    if request.param == "official":
        path = make_official_checkpoint(directory / "checkpoint", mel_bins=128, shards=3)
        # Not the model under test: the latest version must be the one that answers.
        publish(make_official_checkpoint(directory / "older", mel_bins=128, seed=1), repository)
    else:
        path = assemble()
    published = publish(path, repository, settings=EncoderSettings())
    checkpoint = Checkpoint(path)
    mel_bins = audio_config(checkpoint.config).num_mel_bins
    clips = {seconds: synthetic_clip(seconds) for seconds in SECONDS}
    reference = Reference(path)
    expected = {seconds: reference.embeddings(clip) for seconds, clip in clips.items()}
    mels = {seconds: log_mel(clip, mel_bins) for seconds, clip in clips.items()}
    gate = Gate(published.directory)
    with running_triton(repository, directory) as server:
        yield Served(checkpoint, published, server, gate, mels, expected)


@pytest.fixture
async def client(served: Served) -> AsyncIterator[EncoderClient]:
    client = EncoderClient(served.server.grpc_address)
    yield client
    await client.close()


async def encode(client: EncoderClient, mel: LogMel) -> EncodedAudio:
    return await client.encode(mel.features, mel.num_frames, timeout_seconds=TIMEOUT_SECONDS)


async def in_one_batch(
    served: Served, client: EncoderClient, clips: Sequence[tuple[np.ndarray, int]]
) -> list[EncodedAudio | BaseException]:
    """Encode clips that all wait in the queue while the model is busy with one that is not among them."""
    with served.gate.shut():
        busy = asyncio.create_task(encode(client, served.mels[0.1]))
        await served.gate.until_occupied()
        tasks = [
            asyncio.create_task(client.encode(features, frames, timeout_seconds=TIMEOUT_SECONDS))
            for features, frames in clips
        ]
        await until_waiting(served.server, len(clips))
    await busy
    return await asyncio.gather(*tasks, return_exceptions=True)


def difference(encoded: EncodedAudio, expected: torch.Tensor) -> float:
    return max_difference(torch.from_numpy(encoded.embeddings.copy()), expected)


@pytest.mark.parametrize("seconds", SECONDS)
async def test_a_clip_alone_gives_what_transformers_gives(
    served: Served, client: EncoderClient, seconds: float
) -> None:
    encoded = await encode(client, served.mels[seconds])
    assert encoded.embeddings.dtype == np.float32
    assert difference(encoded, served.expected[seconds]) <= TOLERANCE
    assert encoded.compute_ms > 0
    assert encoded.wait_ms > 0


async def test_clips_of_all_lengths_in_one_batch_give_what_transformers_gives(
    served: Served, client: EncoderClient
) -> None:
    before = settled_counters(served.server)
    encoded = await in_one_batch(served, client, [(mel.features, mel.num_frames) for mel in served.mels.values()])
    after = settled_counters(served.server)
    for seconds, one in zip(SECONDS, encoded, strict=True):
        assert isinstance(one, EncodedAudio)
        assert difference(one, served.expected[seconds]) <= TOLERANCE
    assert after["nv_inference_count"] - before["nv_inference_count"] == 1 + len(SECONDS)
    assert after["nv_inference_exec_count"] - before["nv_inference_exec_count"] == 2


def corrupted(mel: LogMel, fault: str) -> tuple[np.ndarray, int]:
    features = mel.features.copy()
    if fault == "nan":
        features[3, 5] = np.nan
    elif fault == "infinite":
        features[0, 0] = -np.inf
    elif fault == "a frame missing":
        features = features[:, :-1]
    frames = {
        "no frames": 0,
        "two frames": 2,
        "negative": -5,
        "beyond 30 s": 3001,
        "more than stored": mel.num_frames + 1,
    }
    return features, frames.get(fault, mel.num_frames)


FAULTS = (
    "nan",
    "infinite",
    "a frame missing",
    "no frames",
    "two frames",
    "negative",
    "beyond 30 s",
    "more than stored",
)


async def test_bad_clips_are_refused_alone_and_the_rest_of_their_batch_is_answered(
    served: Served, client: EncoderClient
) -> None:
    good = served.mels[2.0]
    before = settled_counters(served.server)
    pairs = [(corrupted(good, fault), (good.features, good.num_frames)) for fault in FAULTS]
    answers = await in_one_batch(served, client, [clip for pair in pairs for clip in pair])
    after = settled_counters(served.server)
    for fault, refused, answered in zip(FAULTS, answers[::2], answers[1::2], strict=True):
        assert isinstance(refused, InvalidArgument), fault
        assert refused.reason == "ENCODER_INPUT_INVALID"
        assert isinstance(answered, EncodedAudio), fault
        assert difference(answered, served.expected[2.0]) <= TOLERANCE
    assert after["nv_inference_count"] - before["nv_inference_count"] == 1 + 2 * len(FAULTS)
    assert after["nv_inference_exec_count"] - before["nv_inference_exec_count"] == 2


async def test_wrong_shapes_and_types_are_refused_before_the_queue(served: Served, client: EncoderClient) -> None:
    good = served.mels[0.73]
    wrong: dict[str, np.ndarray] = {
        "a mel bin missing": good.features[:-1],
        "another dimension": good.features[None],
        "float64": good.features.astype(np.float64),
        "integers": good.features.astype(np.int32),
    }
    for fault, features in wrong.items():
        with pytest.raises(InvalidArgument) as refused:
            await client.encode(features, good.num_frames, timeout_seconds=TIMEOUT_SECONDS)
        assert refused.value.reason == "ENCODER_INPUT_INVALID", fault
    assert difference(await encode(client, good), served.expected[0.73]) <= TOLERANCE


async def test_it_tells_which_checkpoint_the_latest_version_comes_from(served: Served, client: EncoderClient) -> None:
    info = await client.describe()
    config = served.checkpoint.config
    assert info.ready
    assert info.fingerprint == served.checkpoint.fingerprint
    assert info.version == served.published.version == (await encode(client, served.mels[0.1])).version
    assert (info.mel_bins, info.hidden_size) == (
        audio_config(config).num_mel_bins,
        text_config(config).hidden_size,
    )


def test_only_the_loopback_interface_is_served_and_no_model_can_be_loaded_from_outside(served: Served) -> None:
    connections = psutil.Process(served.server.pid).net_connections()
    listening = [c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 3
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    with triton.InferenceServerClient(served.server.grpc_address) as admin:
        with pytest.raises(InferenceServerException, match="restricted"):
            admin.load_model("audio_encoder")
        with pytest.raises(InferenceServerException, match="restricted"):
            admin.register_system_shared_memory("name", "/auricle", 16)
