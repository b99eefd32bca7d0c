"""Linear layers on the CPU, in the layout and precision that decoding a few rows at a time is fastest with.

A decode step multiplies 1 to 16 rows with every weight of the model. MKL, which torch's own linear calls, copies the
weight into its panels for each such product; oneDNN and fbgemm take a weight that was laid out once, at start-up.
"""

import warnings
from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional

Linear = Callable[[Tensor], Tensor]

# The digits of an activation in int8: 7 bits, for AVX2 adds two products in 16 bits and saturates at more.
_LEVELS = 63
_ZERO = 64
# Rows that the layout is made for; it serves any number.
_USUAL_ROWS = 8


class Weights(Enum):
    """How the matrices of the model are held; everything else is computed in the model's dtype."""

    FULL = "full"  # in the model's dtype
    FP16 = "fp16"  # multiplied with fp32 activations and summed in fp32
    INT8 = "int8"  # symmetric, one scale for each output


def linear(weight: Tensor, bias: Tensor | None = None, weights: Weights = Weights.FULL) -> Linear:
    """`(rows, inputs)` to `(rows, outputs)`, the dtype of `weight` in and out.

    Args:
        weight: `(outputs, inputs)`; not kept where another layout takes its place.
        bias: `(outputs,)`.
        weights: how it is held.

    Raises:
        ValueError: fp16 or int8 weights for anything but fp32 on a CPU that fbgemm runs on.
    """
    on_cpu_in_fp32 = weight.dtype == torch.float32 and weight.device.type == "cpu"
    if weights is not Weights.FULL:
        if not on_cpu_in_fp32 or "fbgemm" not in torch.backends.quantized.supported_engines:
            raise ValueError(f"{weights.value} weights need fp32 on an x86 CPU, not {weight.dtype} on {weight.device}")
        # Of the process: it says who lays weights out. On some machines the default is one without these products.
        torch.backends.quantized.engine = "fbgemm"
    if weights is Weights.FP16:
        packed = torch.ops.quantized.linear_prepack_fp16(weight, bias)
        return lambda rows: torch.ops.quantized.linear_dynamic_fp16(rows, packed)
    if weights is Weights.INT8:
        return _int8(weight, bias)
    outputs, inputs = weight.shape
    # A narrower one gains nothing with 8 rows, and one row alone is slower: by half at 960 outputs of 576 inputs.
    if on_cpu_in_fp32 and outputs > 2 * inputs and torch.backends.mkldnn.is_available():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, _USUAL_ROWS)
        return lambda rows: torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    return lambda rows: functional.linear(rows, weight, bias)


def _int8(weight: Tensor, bias: Tensor | None) -> Linear:
    """A product in which only the weight is rounded noticeably.

    fbgemm multiplies 8-bit integers alone. Each row is scaled to 1 and written as two digits, whose products are added:
    that is 13 bits of an activation, and a row's result does not depend on the rows beside it.
    """
    packed = _packed_int8(weight)
    product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32

    def apply(rows: Tensor) -> Tensor:
        scale = rows.abs().amax(-1, keepdim=True).clamp_min_(torch.finfo(rows.dtype).tiny)
        scaled = rows / scale
        high = (scaled * _LEVELS).round_() / _LEVELS
        low = (scaled - high) * (2 * _LEVELS)
        of_high, of_low = product(torch.cat((high, low)), 1 / _LEVELS, _ZERO, packed).chunk(2)
        result = torch.add(of_high, of_low, alpha=1 / (2 * _LEVELS)) * scale
        return result if bias is None else result + bias

    return apply


def _packed_int8(weight: Tensor) -> torch.ScriptObject:
    scales = weight.abs().amax(1).clamp_min(torch.finfo(weight.dtype).tiny) / 127
    zeros = torch.zeros(len(weight), dtype=torch.long)
    with warnings.catch_warnings():
        # Torch means to remove quantized tensors some day; the pinned version has them.
        warnings.simplefilter("ignore", UserWarning)
        rounded = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(rounded, None)
