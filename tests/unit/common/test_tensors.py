"""Tensors on the wire are exact, and what does not fit together is refused."""

import numpy as np
import pytest
import torch

from auricle.v1 import audio_pb2
from services.common import tensors
from services.common.errors import InvalidArgument

pytestmark = pytest.mark.unit

VALUES = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)


def test_fp32_round_trip_is_exact() -> None:
    assert np.array_equal(tensors.from_proto(tensors.to_proto(VALUES), "t"), VALUES)


def test_fp16_is_numpys() -> None:
    got = tensors.from_proto(tensors.to_proto(VALUES, audio_pb2.DATA_TYPE_FP16), "t")
    assert np.array_equal(got, VALUES.astype(np.float16).astype(np.float32))


def test_bf16_rounds_as_torch_does() -> None:
    got = tensors.from_proto(tensors.to_proto(VALUES, audio_pb2.DATA_TYPE_BF16), "t")
    assert np.array_equal(got, torch.from_numpy(VALUES).bfloat16().float().numpy())


def test_an_empty_tensor_is_a_tensor() -> None:
    assert tensors.from_proto(tensors.to_proto(np.zeros((0, 4), np.float32)), "t").shape == (0, 4)


@pytest.mark.parametrize(
    "tensor",
    [
        audio_pb2.Tensor(shape=[1], data=b"0000"),
        audio_pb2.Tensor(dtype=audio_pb2.DATA_TYPE_FP32, shape=[2], data=b"0000"),
        audio_pb2.Tensor(dtype=audio_pb2.DATA_TYPE_FP32, shape=[1], data=b"00000000"),
        audio_pb2.Tensor(dtype=audio_pb2.DATA_TYPE_FP32, shape=[-1, -1], data=b"0000"),
        audio_pb2.Tensor(dtype=audio_pb2.DATA_TYPE_FP32, shape=[1, 1, 1, 1, 1], data=b"0000"),
        audio_pb2.Tensor(dtype=audio_pb2.DATA_TYPE_FP16, shape=[2**62, 2**62], data=b"00"),
    ],
)
def test_what_does_not_fit_together_is_refused(tensor: audio_pb2.Tensor) -> None:
    with pytest.raises(InvalidArgument) as raised:
        tensors.from_proto(tensor, "messages[0].audio")
    assert raised.value.reason == "TENSOR_INVALID"
    assert raised.value.violations[0].field == "messages[0].audio"
