"""Cache values: what comes back, and that nothing else is taken for an embedding."""

import numpy as np
import pytest

from services.pipeline.embedding_format import pack, packed_bytes, unpack

pytestmark = pytest.mark.unit

EMBEDDINGS = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


def test_a_value_comes_back_exactly_and_read_only() -> None:
    value = pack(EMBEDDINGS)
    back = unpack(value, (3, 4))
    assert back is not None
    assert np.array_equal(back, EMBEDDINGS)
    assert back.dtype == np.float32
    assert not back.flags.writeable
    assert len(value) == packed_bytes(EMBEDDINGS)


def test_an_array_that_is_no_plain_block_of_memory_is_packed_too() -> None:
    transposed = np.asfortranarray(EMBEDDINGS)
    assert pack(transposed) == pack(EMBEDDINGS)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"AEM1",
        pack(EMBEDDINGS)[:-1],
        pack(EMBEDDINGS) + b"\0",
        b"XXXX" + pack(EMBEDDINGS)[4:],
        pack(EMBEDDINGS)[:4] + b"\x02\0\0\0" + pack(EMBEDDINGS)[8:],
        pack(EMBEDDINGS.reshape(4, 3)),
        bytes(len(pack(EMBEDDINGS))),
    ],
    ids=["empty", "cut in the header", "cut", "longer", "magic", "dtype", "shape", "zeros"],
)
def test_anything_else_is_a_miss(value: bytes) -> None:
    assert unpack(value, (3, 4)) is None
