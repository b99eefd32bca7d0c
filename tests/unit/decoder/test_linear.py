"""Linear layers in every precision: how far they are from the exact product, and that rows do not touch each other."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from services.decoder.linear import Weights, linear

pytestmark = pytest.mark.unit

# Wide, square and narrow; sizes that no block divides.
SHAPES = [(300, 72), (64, 64), (70, 210)]


def tensors(outputs: int, inputs: int, rows: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, bias and rows; the rows differ in size by orders of magnitude."""
    chance = torch.Generator().manual_seed(0)
    sizes = torch.logspace(-3, 3, rows)[:, None]
    return (
        torch.randn(outputs, inputs, generator=chance),
        torch.randn(outputs, generator=chance),
        torch.randn(rows, inputs, generator=chance) * sizes,
    )


def error(got: Tensor, expected: Tensor) -> float:
    """The largest relative error of a row."""
    return float(((got - expected).norm(dim=1) / expected.norm(dim=1)).max())


@torch.inference_mode()
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("biased", [False, True])
def test_each_precision_is_as_near_as_its_weights_are(shape: tuple[int, int], biased: bool) -> None:
    weight, all_bias, rows = tensors(*shape)
    bias = all_bias if biased else None
    scales = weight.abs().amax(1, keepdim=True) / 127
    rounded = {
        Weights.FULL: weight,
        Weights.FP16: weight.half().float(),
        Weights.INT8: (weight / scales).round() * scales,
    }
    for precision, held in rounded.items():
        got = linear(weight, bias, precision)(rows)
        assert error(got, functional.linear(rows, held, bias)) < (2e-3 if precision is Weights.INT8 else 1e-5)
    assert 1e-3 < error(linear(weight, bias, Weights.INT8)(rows), functional.linear(rows, weight, bias)) < 2e-2


@torch.inference_mode()
def test_in_int8_a_row_is_the_same_alone_and_beside_others() -> None:
    weight, bias, rows = tensors(300, 72)
    layer = linear(weight, bias, Weights.INT8)
    together = layer(rows)
    for index, row in enumerate(rows):
        assert torch.equal(layer(row[None])[0], together[index])


@torch.inference_mode()
@pytest.mark.parametrize("precision", Weights)
def test_what_is_not_finite_stays_in_its_row_and_zeros_are_zeros(precision: Weights) -> None:
    weight, _, rows = tensors(300, 72)
    rows[1], rows[3, 5], rows[4] = torch.nan, torch.inf, 0
    got = linear(weight, None, precision)(rows)
    assert got.isfinite().all(1).tolist() == [index not in (1, 3) for index in range(len(rows))]
    assert not got[4].any()


def test_other_dtypes_have_no_rounded_weights() -> None:
    with pytest.raises(ValueError, match="fp32"):
        linear(torch.zeros(4, 4, dtype=torch.bfloat16), None, Weights.INT8)
