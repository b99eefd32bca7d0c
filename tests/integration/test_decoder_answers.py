"""Greedy answers over gRPC are transformers' own, token for token, alone and all at once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from auricle.v1 import decoder_pb2, decoder_pb2_grpc, generation_pb2
from services.common.channels import connect
from services.common.server import GrpcServer
from services.decoder.build import build
from services.qwen2_audio.config import audio_config, text_config
from services.qwen2_audio.mini import assemble
from services.qwen2_audio.weights import Checkpoint, load_audio_encoder
from tests.answers import greedy_answers, reference
from tests.checkpoints import make_official_checkpoint
from tests.decoder_client import Answer, answer, decoder_settings, request_of
from tests.prompts import CONVERSATIONS, SEVERAL_CLIPS, SEVERAL_TURNS, TEXT_ONLY

pytestmark = pytest.mark.integration

MAX_NEW_TOKENS = 24


@dataclass(frozen=True)
class Served:
    """A checkpoint behind a real server, and the requests for it."""

    path: Path
    stub: decoder_pb2_grpc.DecoderServiceStub
    requests: dict[str, decoder_pb2.GenerateRequest]


@pytest.fixture(scope="module", params=["auricle-mini", "official"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "official":
        return make_official_checkpoint(tmp_path_factory.mktemp("decoder") / "checkpoint", mel_bins=128, shards=3)
    return assemble()


@pytest.fixture(scope="module")
def requests(checkpoint: Path) -> dict[str, decoder_pb2.GenerateRequest]:
    encoder = load_audio_encoder(checkpoint)
    return {c.name: request_of(c.messages, encoder, max_output_tokens=MAX_NEW_TOKENS) for c in CONVERSATIONS}


@pytest.fixture
async def served(checkpoint: Path, requests: dict[str, decoder_pb2.GenerateRequest]) -> AsyncIterator[Served]:
    # Fewer rows than the longest prompt has, so that a prompt comes in pieces beside others that decode.
    settings = decoder_settings(checkpoint, threads=2, step_tokens=128)
    async with GrpcServer(build(settings), settings) as server:
        async with connect(f"127.0.0.1:{server.port}", max_message_bytes=settings.max_message_bytes) as channel:
            yield Served(checkpoint, decoder_pb2_grpc.DecoderServiceStub(channel), requests)


def check(served: Served, answers: dict[str, Answer]) -> None:
    expected = greedy_answers(served.path, MAX_NEW_TOKENS)
    model = reference(served.path)
    wrong = {name: (got.token_ids, expected[name]) for name, got in answers.items() if got.token_ids != expected[name]}
    assert not wrong
    for conversation in CONVERSATIONS:
        got = answers[conversation.name]
        whole = model.decode(expected[conversation.name])
        # An answer that ends within a character ends before it.
        assert whole.startswith(got.text)
        assert whole[len(got.text) :] in ("", "\ufffd")
        assert got.completion.prompt_tokens == len(model.prompt_ids(conversation.without_audio, conversation.audios))
        assert got.completion.output_tokens == len(got.token_ids)
        ended = got.completion.finish_reason == generation_pb2.FINISH_REASON_STOP
        assert ended or len(got.token_ids) == MAX_NEW_TOKENS


def test_the_conversations_cover_what_they_claim() -> None:
    assert len({conversation.name for conversation in CONVERSATIONS}) >= 24
    assert all(len(conversation.audios) > 1 for conversation in SEVERAL_CLIPS)
    assert all(len(conversation.messages) > 1 for conversation in SEVERAL_TURNS)
    assert not any(conversation.audios for conversation in TEXT_ONLY)


async def test_answers_one_by_one(served: Served) -> None:
    check(served, {name: await answer(served.stub, request) for name, request in served.requests.items()})


async def test_answers_all_at_once(served: Served) -> None:
    answers = await asyncio.gather(*(answer(served.stub, request) for request in served.requests.values()))
    check(served, dict(zip(served.requests, answers, strict=True)))


async def test_the_decoder_tells_what_it_serves(served: Served) -> None:
    told = await served.stub.DescribeDecoder(decoder_pb2.DescribeDecoderRequest())
    checkpoint = Checkpoint(served.path)
    assert told.model == served.path.name
    assert told.fingerprint == checkpoint.fingerprint
    assert told.hidden_size == text_config(checkpoint.config).hidden_size
    assert told.mel_bins == audio_config(checkpoint.config).num_mel_bins
    assert told.context_tokens == 8192
