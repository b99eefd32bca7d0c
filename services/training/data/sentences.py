"""Open text: the example sentences of WordNet (Debian's wordnet-base), short ones made of common words."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

WORDNET = Path("/usr/share/wordnet")
LICENSE = "WordNet 3.0 license (text)"
COMMON_WORDS = 3_000
MIN_WORDS, MAX_WORDS = 3, 9
HELD_OUT_SHARE = 0.04

_EXAMPLE = re.compile(r'"([^"]+)"')
_SENTENCE = re.compile(r"[A-Za-z]+(?:'[a-z]+)?(?: [A-Za-z]+(?:'[a-z]+)?)*")


def read_sentences(least: int = MIN_WORDS, most: int = MAX_WORDS, wordnet: Path = WORDNET) -> list[str]:
    """Examples of ``least`` to ``most`` words, all among the ``COMMON_WORDS`` commonest there, sorted.

    Raises:
        FileNotFoundError: Debian's wordnet-base is not installed.
    """
    examples = set(_examples(wordnet))
    counts = Counter(word for text in examples for word in text.lower().split())
    common = {word for word, _ in counts.most_common(COMMON_WORDS)}
    chosen = (text for text in examples if least <= len(text.split()) <= most)
    return sorted({as_sentence(text) for text in chosen if common.issuperset(text.lower().split())})


def as_sentence(words: str) -> str:
    """With a capital at the beginning and a full stop at the end."""
    return words[0].upper() + words[1:] + "."


def is_held_out(text: str, share: float = HELD_OUT_SHARE) -> bool:
    """Whether the text belongs to the held-out share: by its content, so that it never moves."""
    digest = hashlib.sha256(text.lower().encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32


def _examples(wordnet: Path) -> Iterable[str]:
    for part in ("noun", "verb", "adj", "adv"):
        for line in (wordnet / f"data.{part}").read_text("utf-8").splitlines():
            _, _, gloss = line.partition(" | ")
            for example in _EXAMPLE.findall(gloss):
                if _SENTENCE.fullmatch(example.strip()):
                    yield example.strip()
