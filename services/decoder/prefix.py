"""Names for what a block of the KV cache holds, so that a later prompt with the same beginning finds it.

A key is a hash chain: of the key before it, the block's token ids, and the content of the audio that stands in place of
placeholders. Two blocks with one key hold the same keys and values, because those follow from all tokens up to there.
"""

import hashlib
from array import array
from collections.abc import Sequence

from services.decoder.engine import AudioSpan
from services.decoder.kv_cache import BLOCK_TOKENS


def extend_keys(keys: list[bytes], tokens: Sequence[int], audio: Sequence[AudioSpan]) -> None:
    """Append the keys of the full blocks of `tokens` that have none yet."""
    for index in range(len(keys), len(tokens) // BLOCK_TOKENS):
        start, end = index * BLOCK_TOKENS, (index + 1) * BLOCK_TOKENS
        digest = hashlib.sha256(keys[-1] if keys else b"")
        digest.update(array("i", tokens[start:end]).tobytes())
        for span in audio:
            if span.start < end and start < span.start + len(span.embeddings):
                digest.update(span.content_sha256 + (span.start - start).to_bytes(8, "little", signed=True))
        keys.append(digest.digest())
