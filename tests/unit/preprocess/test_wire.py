"""Messages between the two halves survive the way, and what a broken child sends is caught."""

import io
import json
from dataclasses import replace

import pytest

from services.preprocess import wire
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
from services.preprocess.sandbox.source import Source, chunks_of
from services.preprocess.wire import Kind

pytestmark = pytest.mark.unit

FACTS = WindowFacts(3, 480_000, 16_000, "ab" * 32, 0.5, -20.0, -3.0, 80, 102, 100, 25)
WINDOW = Window(FACTS, bytes(4 * 80 * 102))
SUMMARY = Summary(16_000, "ogg", "opus", 48_000, 2, (Damage(1.5, "CRC mismatch"),), 12.5)
REFUSAL = Refusal(Reason.AUDIO_EMPTY, "no bytes", {"a": "b"})


@pytest.mark.parametrize("result", [WINDOW, SUMMARY, REFUSAL])
def test_a_result_survives_the_way(result: Window | Summary | Refusal) -> None:
    kind, payload = wire.pack_result(result)
    assert wire.parse_header(wire.header(kind, len(payload))) == (kind, len(payload))
    assert wire.unpack_result(kind, payload) == result


@pytest.mark.parametrize("pcm", [None, PcmFormat(8_000, 2, "s16le")])
def test_an_order_survives_the_way(pcm: PcmFormat | None) -> None:
    order = Order(128, 12.5, 3600.0, single_window=True, pcm=pcm)
    assert wire.unpack_order(wire.pack_order(order)) == order


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.WINDOW, b""),
        (Kind.WINDOW, b"\xff\xff\xff\xff{}"),
        (Kind.WINDOW, wire.pack_result(WINDOW)[1][:-4]),
        (Kind.WINDOW, wire.pack_result(replace(WINDOW, facts=replace(FACTS, content_sha256="zz")))[1]),
        (Kind.SUMMARY, b"\xff"),
        (Kind.SUMMARY, b"{}"),
        (Kind.REFUSAL, json.dumps({"reason": "NO_SUCH", "message": "", "metadata": {}}).encode()),
        (Kind.CHUNK, b"x"),
    ],
)
def test_nonsense_from_a_child_is_an_error(kind: Kind, payload: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.unpack_result(kind, payload)


@pytest.mark.parametrize(("number", "length"), [(0, 1), (99, 1), (Kind.WINDOW, wire.MAX_PAYLOAD_BYTES + 1)])
def test_a_header_that_cannot_be_is_an_error(number: int, length: int) -> None:
    with pytest.raises(wire.WireError):
        wire.parse_header(wire.HEADER.pack(number, length))


def test_chunks_are_read_as_one_file_whose_ends_are_kept() -> None:
    data = bytes(range(256)) * 1000
    messages = b"".join(wire.header(Kind.CHUNK, 1000) + data[i : i + 1000] for i in range(0, len(data), 1000))
    source = Source(chunks_of(io.BytesIO(messages + wire.header(Kind.END, 0))))
    assert source.peek(1500) == data[:1500]
    read = b""
    while part := source.read(777):
        read += part
    assert read == data
    assert (source.total_bytes, source.head, source.tail) == (len(data), data[: 2**16], data[-(2**16) :])


def test_a_stream_that_breaks_off_is_not_an_end() -> None:
    broken = wire.header(Kind.CHUNK, 10) + b"half"
    with pytest.raises(EOFError):
        list(chunks_of(io.BytesIO(broken)))
