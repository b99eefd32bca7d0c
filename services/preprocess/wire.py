"""How the two halves of the service talk over a socket: a kind, a length, a payload. JSON and plain bytes, no pickle.

    outside to child   ORDER, then CHUNK ..., then END
    child to outside   WINDOW ..., then SUMMARY or REFUSAL

The outside treats what a child sends as untrusted: lengths are bounded and fields checked by the dataclasses' shapes.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import asdict
from enum import IntEnum
from typing import Any

from services.preprocess.domain import (
    Damage,
    Order,
    PcmFormat,
    Reason,
    Refusal,
    Summary,
    Window,
    WindowFacts,
)

HEADER = struct.Struct("<BI")
# A window of 30 s with 128 mel bins takes 1.54 MB; a chunk at most 1 MiB.
MAX_PAYLOAD_BYTES = 4 * 2**20
_FACTS_LENGTH = struct.Struct("<I")


class Kind(IntEnum):
    """What a message carries."""

    ORDER = 1
    CHUNK = 2
    END = 3
    WINDOW = 4
    SUMMARY = 5
    REFUSAL = 6


class WireError(Exception):
    """The other half broke the protocol."""


def header(kind: Kind, length: int) -> bytes:
    """The five bytes before a payload of `length` bytes."""
    return HEADER.pack(kind, length)


def parse_header(data: bytes) -> tuple[Kind, int]:
    """Kind and payload length.

    Raises:
        WireError: unknown kind or a payload beyond MAX_PAYLOAD_BYTES.
    """
    number, length = HEADER.unpack(data)
    if number not in set(Kind) or length > MAX_PAYLOAD_BYTES:
        raise WireError(f"message of kind {number} with {length} bytes")
    return Kind(number), length


def pack_order(order: Order) -> bytes:
    """An Order as a payload."""
    return json.dumps(asdict(order)).encode()


def unpack_order(payload: bytes) -> Order:
    """The Order of a payload."""
    fields = json.loads(payload)
    pcm = fields.pop("pcm")
    return Order(**fields, pcm=PcmFormat(**pcm) if pcm else None)


def pack_result(result: Window | Summary | Refusal) -> tuple[Kind, bytes]:
    """What a child has to tell, as kind and payload."""
    if isinstance(result, Window):
        facts = json.dumps(asdict(result.facts)).encode()
        return Kind.WINDOW, _FACTS_LENGTH.pack(len(facts)) + facts + result.features
    kind = Kind.SUMMARY if isinstance(result, Summary) else Kind.REFUSAL
    return kind, json.dumps(asdict(result)).encode()


def _window(payload: bytes) -> Window:
    (length,) = _FACTS_LENGTH.unpack_from(payload)
    start = _FACTS_LENGTH.size + length
    facts = WindowFacts(**json.loads(payload[_FACTS_LENGTH.size : start]))
    features = payload[start:]
    if len(features) != 4 * facts.mel_bins * facts.stored_frames or len(bytes.fromhex(facts.content_sha256)) != 32:
        raise ValueError("window whose parts do not fit")
    return Window(facts, features)


def _summary(payload: bytes) -> Summary:
    fields = json.loads(payload)
    damages = tuple(Damage(**damage) for damage in fields.pop("damages"))
    return Summary(**fields, damages=damages)


def _refusal(payload: bytes) -> Refusal:
    fields = json.loads(payload)
    return Refusal(Reason(fields["reason"]), str(fields["message"]), dict(fields["metadata"]))


_UNPACK: dict[Kind, Callable[[bytes], Any]] = {Kind.WINDOW: _window, Kind.SUMMARY: _summary, Kind.REFUSAL: _refusal}


def unpack_result(kind: Kind, payload: bytes) -> Window | Summary | Refusal:
    """What a child told.

    Raises:
        WireError: not a result, or one whose parts do not fit.
    """
    try:
        result: Window | Summary | Refusal = _UNPACK[kind](payload)
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise WireError(f"{kind.name}: {error}") from error
    return result
