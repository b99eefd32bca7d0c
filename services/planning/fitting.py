"""Service times out of measured ones: least squares without negative coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Fit:
    """Coefficients, and the standard deviation of measured over fitted."""

    coefficients: tuple[float, ...]
    spread: float


def fit(parts: Sequence[Sequence[float]], measured: Sequence[float]) -> Fit:
    """Times as a sum of their parts, every measurement counting by its relative error.

    Args:
        parts: for each measurement, how much of each part there is in it.
        measured: milliseconds, above 0.

    Raises:
        ValueError: there is no measurement.
    """
    if not measured:
        raise ValueError("nothing was measured")
    times = np.asarray(measured, float)
    shares: NDArray[np.float64] = np.asarray(parts, float) / times[:, None]
    coefficients = _non_negative(shares, np.ones(len(times)))
    ratios = 1 / np.maximum(shares @ coefficients, 1e-9)
    # A few hiccups of the machine would pass for the spread of every call.
    low, high = np.percentile(ratios, (16, 84))
    return Fit(tuple(coefficients.tolist()), float((high - low) / 2))


def _non_negative(shares: NDArray[np.float64], ones: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients of the best fit; the most negative part is left out until none is."""
    kept = list(range(shares.shape[1]))
    while True:
        # Columns of one size: a part may be a hundred clips or a hundred thousand tokens.
        sizes = np.maximum(np.abs(shares[:, kept]).max(axis=0), 1e-12)
        found = np.linalg.lstsq(shares[:, kept] / sizes, ones, rcond=1e-9)[0] / sizes
        if (found >= 0).all():
            break
        kept.pop(int(np.argmin(found * sizes)))
    result = np.zeros(shares.shape[1])
    result[kept] = found
    return result
