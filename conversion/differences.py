"""How far two outputs are apart."""

from __future__ import annotations

from typing import Any

import numpy as np


class Difference:
    """What reports of comparisons say of it.

    Attributes:
        largest: largest absolute value of the reference.
        difference: largest absolute difference; infinite where either side has a NaN or an infinite number.
    """

    largest: float
    difference: float

    @property
    def relative(self) -> float:
        """The difference relative to the largest value."""
        return self.difference / self.largest if self.largest else self.difference


def measure(reference: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> tuple[float, float]:
    """``largest`` and ``difference`` of two arrays; those of different shapes are infinitely far apart.

    A NaN compares as smaller than anything: an output that holds one is put beyond all limits by hand.
    """
    largest = float(np.nan_to_num(np.abs(reference)).max(initial=0.0))
    if reference.shape != other.shape:
        return largest, float("inf")
    gap = np.abs(reference - other)
    return largest, float(gap.max(initial=0.0)) if np.isfinite(gap).all() else float("inf")
