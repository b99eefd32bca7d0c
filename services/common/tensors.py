"""Plain tensors: dtype, shape and little-endian bytes, checked before use (design: nothing is unpickled)."""

import math

import numpy as np

from auricle.v1 import audio_pb2
from services.common.errors import InvalidArgument

MAX_DIMENSIONS = 4
_WIRE_TYPE: dict[int, np.dtype] = {
    audio_pb2.DATA_TYPE_FP32: np.dtype("<f4"),
    audio_pb2.DATA_TYPE_FP16: np.dtype("<f2"),
    audio_pb2.DATA_TYPE_BF16: np.dtype("<u2"),
}


def to_proto(array: np.ndarray, dtype: "audio_pb2.DataType" = audio_pb2.DATA_TYPE_FP32) -> audio_pb2.Tensor:
    """A float array of any shape as a Tensor of `dtype`; bfloat16 is rounded to nearest even."""
    if dtype == audio_pb2.DATA_TYPE_BF16:
        bits = np.ascontiguousarray(array, "<f4").view("<u4")
        data = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
    else:
        data = np.ascontiguousarray(array, _WIRE_TYPE[dtype]).tobytes()
    return audio_pb2.Tensor(dtype=dtype, shape=array.shape, data=data)


def from_proto(tensor: audio_pb2.Tensor, field: str) -> np.ndarray:
    """The Tensor as a float32 array; a read-only view of the message's bytes where no conversion is needed.

    Raises:
        InvalidArgument: the dtype is unknown, the shape impossible, or the bytes do not match (TENSOR_INVALID).
    """
    wire_type = _WIRE_TYPE.get(tensor.dtype)
    if wire_type is None:
        raise _invalid(field, f"dtype {tensor.dtype} is not one of FP32, FP16, BF16")
    shape = tuple(tensor.shape)
    if len(shape) > MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise _invalid(field, f"shape {shape[:8]} must have at most {MAX_DIMENSIONS} dimensions, none negative")
    expected = math.prod(shape) * wire_type.itemsize
    if len(tensor.data) != expected:
        raise _invalid(field, f"shape {shape} takes {expected} bytes, but {len(tensor.data)} came")
    array = np.frombuffer(tensor.data, wire_type).reshape(shape)
    if tensor.dtype == audio_pb2.DATA_TYPE_BF16:
        return (array.astype("<u4") << 16).view("<f4")
    return array.astype(np.float32, copy=False)


def _invalid(field: str, description: str) -> InvalidArgument:
    return InvalidArgument.of_field(field, description, reason="TENSOR_INVALID")
