"""From logits to scores: float64, the same in both frameworks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def softmax(logits: Array) -> Array:
    """Shares that add up to 1 along the last axis."""
    exact = np.asarray(logits, np.float64)
    raised = np.exp(exact - exact.max(-1, keepdims=True))
    shares: Array = raised / raised.sum(-1, keepdims=True)
    return shares


def sigmoid(logits: Array) -> Array:
    """A probability for each logit."""
    exact = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(exact))  # never overflows
    return np.where(exact >= 0, 1.0, small) / (1.0 + small)


def best(scores: Array, count: int | None = None) -> list[int]:
    """Places of the largest scores of a vector, best first; equal ones in their order. ``None``: all."""
    if count is None or count >= len(scores):
        return [int(place) for place in np.argsort(-scores, kind="stable")]
    few = np.flatnonzero(scores >= np.partition(scores, -count)[-count])  # all that tie with the last one too
    return [int(place) for place in few[np.argsort(-scores[few], kind="stable")][:count]]
