"""How an embedding stands in the cache: a header of 16 bytes, then FP32 little-endian in row-major order.

Header: magic and version (4 bytes), audio_pb2.DataType (uint32), rows (uint32), columns (uint32); all little-endian.
"""

import struct

import numpy as np

from auricle.v1 import audio_pb2

_MAGIC = b"AEM1"
_HEADER = struct.Struct("<4sIII")
_ITEM_BYTES = 4


def pack(embeddings: np.ndarray) -> bytes:
    """A float array of shape (tokens, hidden) as a cache value."""
    tokens, hidden = embeddings.shape
    header = _HEADER.pack(_MAGIC, audio_pb2.DATA_TYPE_FP32, tokens, hidden)
    return b"".join((header, np.ascontiguousarray(embeddings, "<f4").data))


def packed_bytes(embeddings: np.ndarray) -> int:
    """Size of the cache value without making it."""
    return _HEADER.size + embeddings.size * _ITEM_BYTES


def unpack(value: bytes, shape: tuple[int, int]) -> np.ndarray | None:
    """The embeddings of the expected shape as a read-only view of the value, or None when the value is not that."""
    if len(value) != _HEADER.size + shape[0] * shape[1] * _ITEM_BYTES:
        return None
    if _HEADER.unpack_from(value) != (_MAGIC, audio_pb2.DATA_TYPE_FP32, *shape):
        return None
    return np.frombuffer(value, "<f4", offset=_HEADER.size).reshape(shape)
