"""Text comes in whole characters and never contains any part of a stop string."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from services.decoder.detokenizer import Detokenizer, TokenBytes

pytestmark = pytest.mark.unit

REPLACEMENT = "\ufffd"
Bytewise = Callable[[str], list[int]]


@pytest.fixture(scope="module")
def token_bytes(tokenizer: Any) -> TokenBytes:
    return TokenBytes(tokenizer)


@pytest.fixture(scope="module")
def bytewise(token_bytes: TokenBytes) -> Bytewise:
    """Ids of a text, one for each byte, so that every character of several bytes is split."""
    ids = {token_bytes[token_id]: token_id for token_id in range(512)}
    return lambda text: [ids[bytes([byte])] for byte in text.encode()]


def test_characters_split_between_tokens_come_whole(bytewise: Bytewise, token_bytes: TokenBytes) -> None:
    text = "naïve 你好 🙂👩‍👩‍👧 z̈"
    detokenizer = Detokenizer(token_bytes)
    deltas = [detokenizer.push(token) for token in bytewise(text)]
    assert "".join(deltas) + detokenizer.flush() == text
    assert all(REPLACEMENT not in delta for delta in deltas)
    assert all(len(delta) <= 1 for delta in deltas)


def test_any_tokens_give_the_text_that_the_tokenizer_gives(tokenizer: Any, token_bytes: TokenBytes) -> None:
    chance = random.Random(0)
    for _ in range(300):
        token_ids = [chance.randrange(512) for _ in range(30)]
        detokenizer = Detokenizer(token_bytes)
        text = "".join(detokenizer.push(token) for token in token_ids) + detokenizer.flush()
        expected = tokenizer.decode(token_ids, skip_special_tokens=True)
        # Only a character that the end cut off is missing.
        assert expected.startswith(text)
        assert expected[len(text) :] in ("", REPLACEMENT)


def test_an_answer_that_ends_within_a_character_ends_before_it(bytewise: Bytewise, token_bytes: TokenBytes) -> None:
    detokenizer = Detokenizer(token_bytes)
    deltas = [detokenizer.push(token) for token in bytewise("ok🙂")[:-1]]
    assert "".join(deltas) + detokenizer.flush() == "ok"


def test_special_tokens_and_ids_without_a_token_are_silent(tokenizer: Any, token_bytes: TokenBytes) -> None:
    detokenizer = Detokenizer(token_bytes)
    vocabulary = tokenizer.get_vocab()
    assert [detokenizer.push(vocabulary[token]) for token in ("<|im_end|>", "<|AUDIO|>")] == ["", ""]
    assert detokenizer.push(511) == ""


def spoken(bytewise: Bytewise, token_bytes: TokenBytes, text: str, *stop: str) -> tuple[list[str], bool]:
    """Deltas of a text that comes byte by byte until a stop string ends it, and whether one did."""
    detokenizer, deltas = Detokenizer(token_bytes, stop), []
    for token in bytewise(text):
        deltas.append(detokenizer.push(token))
        if detokenizer.stopped:
            break
    return [*deltas, detokenizer.flush()], detokenizer.stopped


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one two three", ["two"], "one "),
        ("one two three", ["three", "two"], "one "),
        ("aaab", ["aab"], "a"),
        ("abcabd!", ["abd"], "abc"),
        ("one", ["one"], ""),
        ("schön 🙂 ja", ["🙂"], "schön "),
        ("end.\n\nmore", ["\n\n"], "end."),
    ],
)
def test_text_ends_before_a_stop_string_split_between_tokens(
    bytewise: Bytewise, token_bytes: TokenBytes, text: str, stop: list[str], expected: str
) -> None:
    deltas, stopped = spoken(bytewise, token_bytes, text, *stop)
    assert stopped
    assert "".join(deltas) == expected


def test_text_that_only_resembles_a_stop_string_is_held_and_then_given(
    bytewise: Bytewise, token_bytes: TokenBytes
) -> None:
    deltas, stopped = spoken(bytewise, token_bytes, "a stork", "stop")
    assert not stopped
    assert deltas == ["a", " ", "", "", "", "stor", "k", ""]


def test_text_held_back_at_the_end_is_given(bytewise: Bytewise, token_bytes: TokenBytes) -> None:
    deltas, stopped = spoken(bytewise, token_bytes, "full sto", "stop")
    assert not stopped
    assert deltas[-1] == "sto"
    assert "".join(deltas) == "full sto"


def test_a_stop_string_in_the_middle_of_a_token_is_found(tokenizer: Any, token_bytes: TokenBytes) -> None:
    (token,) = tokenizer(" speaking", add_special_tokens=False)["input_ids"]
    detokenizer = Detokenizer(token_bytes, ("ak",))
    assert detokenizer.push(token) == " spe"
    assert detokenizer.stopped


def test_a_tokenizer_that_is_not_byte_level_is_refused() -> None:
    backend = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    backend.decoder = decoders.WordPiece()
    with pytest.raises(ValueError, match="byte-level"):
        TokenBytes(PreTrainedTokenizerFast(tokenizer_object=backend))
