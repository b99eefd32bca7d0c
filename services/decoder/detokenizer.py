"""From token ids to text, token by token.

Byte-level BPE splits characters between tokens, so bytes are gathered until they make whole characters. Text that may
be the beginning of a stop string is held back until that is certain.
"""

import codecs

from tokenizers import decoders
from transformers import PreTrainedTokenizerFast


class TokenBytes:
    """The bytes that each token of a byte-level tokenizer stands for; special tokens stand for none.

    Raises:
        ValueError: the tokenizer is not byte-level.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        if not isinstance(tokenizer.backend_tokenizer.decoder, decoders.ByteLevel):
            raise ValueError("the tokenizer is not byte-level; its tokens cannot be turned into bytes one by one")
        byte_of = _byte_of_char()
        special = set(tokenizer.all_special_ids) | {
            index for index, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        self._bytes: dict[int, bytes] = {}
        for token, index in tokenizer.get_vocab().items():
            in_alphabet = all(char in byte_of for char in token)
            content = bytes(byte_of[char] for char in token) if in_alphabet else token.encode()
            self._bytes[index] = b"" if index in special else content

    def __getitem__(self, token_id: int) -> bytes:
        """Bytes of a token; rows that only pad the vocabulary have none."""
        return self._bytes.get(token_id, b"")


class Detokenizer:
    """The text of one answer.

    Args:
        token_bytes: the tokenizer's table.
        stop: strings before which the answer ends.
    """

    def __init__(self, token_bytes: TokenBytes, stop: tuple[str, ...] = ()) -> None:
        self._token_bytes = token_bytes
        self._stop = stop
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.stopped = False

    def push(self, token_id: int) -> str:
        """Text that became certain with this token; `stopped` is set when a stop string was met."""
        text = self._held + self._utf8.decode(self._token_bytes[token_id])
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        self.stopped = bool(found)
        certain = min(found) if found else len(text) - self._longest_beginning(text)
        self._held = "" if found else text[certain:]
        return text[:certain]

    def flush(self) -> str:
        """Text that was held back; an answer that ends in the middle of a character ends before it."""
        held, self._held = self._held, ""
        return held

    def _longest_beginning(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop string begins."""
        longest = max((len(stop) - 1 for stop in self._stop), default=0)
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0


def _byte_of_char() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes stand for themselves, the others for the characters from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
