"""Answers of the whole platform equal transformers' own, token for token: two checkpoints, alone and all at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from auricle import Client
from tests.checkpoints import make_official_checkpoint
from tests.platform import RunningPlatform, running_platform
from tests.prompts import CONVERSATIONS, Conversation
from tests.reference import Reference

pytestmark = pytest.mark.e2e

OUTPUT_TOKENS = 12


@pytest.fixture(scope="module")
def official_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """Serves a small random checkpoint in the official layout: 128 mel bins, untied head, three shards."""
    checkpoint = tmp_path_factory.mktemp("official") / "checkpoint"
    make_official_checkpoint(checkpoint, mel_bins=128, tied=False, shards=3)
    with running_platform(str(checkpoint), tmp_path_factory.mktemp("official-platform")) as running:
        yield running


@pytest.fixture(scope="module", params=["auricle-mini", "official layout"])
def served(request: pytest.FixtureRequest) -> RunningPlatform:
    fixture = "platform" if request.param == "auricle-mini" else "official_platform"
    return request.getfixturevalue(fixture)


@pytest.fixture(scope="module")
def expected(served: RunningPlatform) -> dict[str, str]:
    """transformers' greedy answers by conversation."""
    reference = Reference(served.checkpoint)
    return {c.name: _expected(reference, c) for c in CONVERSATIONS}


def _expected(reference: Reference, conversation: Conversation) -> str:
    ids = reference.generate(conversation.without_audio, conversation.audios, max_new_tokens=OUTPUT_TOKENS)
    # An answer that is cut in the middle of a character ends before it; transformers puts U+FFFD there.
    return reference.decode(ids).rstrip("\ufffd")


def answer(client: Client, conversation: Conversation) -> str:
    return client.chat(list(conversation.messages), max_output_tokens=OUTPUT_TOKENS).text.rstrip("\ufffd")


def test_answers_equal_transformers(served: RunningPlatform, expected: dict[str, str]) -> None:
    assert len(expected) >= 24
    with Client(served.address) as client:
        alone = {c.name: answer(client, c) for c in CONVERSATIONS}
        with ThreadPoolExecutor(len(CONVERSATIONS)) as pool:
            together = dict(zip(expected, pool.map(lambda c: answer(client, c), CONVERSATIONS), strict=True))
    assert alone == expected
    assert together == expected


def test_a_stream_is_the_same_answer_in_pieces(platform: RunningPlatform) -> None:
    conversation = CONVERSATIONS[1]
    with Client(platform.address) as client:
        whole = answer(client, conversation)
        with client.stream_chat(list(conversation.messages), max_output_tokens=OUTPUT_TOKENS) as stream:
            pieces = list(stream)
    assert len(pieces) > 1
    assert "".join(pieces) == whole == stream.answer.text
