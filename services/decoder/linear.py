"""Linear layers on the CPU, in the layout and precision that decoding a few rows at a time is fastest with.

A decode step multiplies 1 to 16 rows with every weight of the model. MKL, which torch's own linear calls, copies the
weight into its panels for each such product; oneDNN and fbgemm take a weight that was laid out once, at start-up.
"""

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
        ValueError: fp16 or int8 weights for anything but fp32 on a CPU that fbgemm and oneDNN run on.
    """
    on_cpu_in_fp32 = weight.dtype == torch.float32 and weight.device.type == "cpu"
    has_products = {"fbgemm", "onednn"} <= set(torch.backends.quantized.supported_engines)
    if weights is not Weights.FULL and not (on_cpu_in_fp32 and has_products):
        raise ValueError(f"{weights.value} weights need fp32 on an x86 CPU, not {weight.dtype} on {weight.device}")
    if weights is Weights.FP16:
        # Of the process: it says who lays weights out. On some machines the default is one without this product.
        torch.backends.quantized.engine = "fbgemm"
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

    oneDNN multiplies 8-bit integers alone. Each row is scaled to 1 and written as two digits, whose products are added:
    that is 13 bits of an activation, and a row's result does not depend on the rows beside it.
    """
    smallest = torch.finfo(weight.dtype).tiny
    scales = weight.abs().amax(1).clamp_min(smallest) / 127
    zeros = torch.zeros(len(weight), dtype=torch.long)
    packed = torch.ops.onednn.qlinear_prepack((weight / scales[:, None]).round().to(torch.int8), None)

    def product(digits: Tensor) -> Tensor:
        return torch.ops.onednn.qlinear_pointwise(
            digits, 1.0, _ZERO, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )

    def apply(rows: Tensor) -> Tensor:
        unit = rows.abs().amax(-1, keepdim=True).div_(_LEVELS).clamp_min_(smallest)
        scaled = rows / unit
        high = scaled.round()
        low = (scaled - high).mul_(2 * _LEVELS)
        # Turning them into integers cuts off, hence the half; to int8 is the fast way to get there.
        digits = torch.cat((high, low)).add_(_ZERO + 0.5).to(torch.int8).view(torch.uint8)
        of_high, of_low = product(digits).chunk(2)
        result = torch.add(of_high, of_low, alpha=1 / (2 * _LEVELS)).mul_(unit)
        return result if bias is None else result.add_(bias)

    return apply
