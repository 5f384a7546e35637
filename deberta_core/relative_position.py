"""Relative distances -> log buckets -> rows of the relative table.

One index serves both position terms: the score of query ``i`` and key ``j`` reads row
``clip(bucket(i - j) + span, 0, 2 span - 1)``. As the row depends on ``i - j`` alone, it is stored once per distance.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_core.config import BaseConfig

MOST_DISTANCE = 1 << 17  # farther tokens share the last entry; odd bucket counts below 10 would need endless tables


def log_buckets(distance: NDArray[np.int64], *, buckets: int, max_distance: int) -> NDArray[np.int64]:
    """Buckets of signed distances: exact up to half the buckets, logarithmic beyond.

    Args:
        distance: query position minus key position, in tokens, any shape.
        buckets: buckets on each side (``position_buckets``), at least 1.
        max_distance: distance M, in tokens, whose predecessor falls into the last bucket.

    Returns:
        Bucket numbers of the same shape, odd in ``distance``; not clipped beyond ``max_distance``.

    Source: He et al. 2021 (arXiv 2111.09543) and the released code; float64 gives the integers of every reference.
    """
    middle = buckets // 2
    size = np.abs(distance)
    if middle == 0:  # one bucket: the published formula divides by zero and ends in the first row
        return np.where(size == 0, 0, -buckets)
    with np.errstate(divide="ignore", invalid="ignore"):  # max_distance - 1 == middle: everything farther is at the end
        steps = np.log(np.maximum(size, middle) / middle) / np.log((max_distance - 1) / middle) * (middle - 1)
    steps = np.nan_to_num(steps, posinf=MOST_DISTANCE, neginf=-MOST_DISTANCE)
    return np.where(size <= middle, distance, np.sign(distance) * (np.ceil(steps).astype(np.int64) + middle))


@functools.lru_cache(maxsize=64)
def _rows(span: int, buckets: int, max_distance: int, clamp: bool) -> NDArray[np.int64]:
    reach = span
    while True:
        distance = np.arange(-reach, reach + 1)
        near = np.clip(distance, 1 - max_distance, max_distance - 1) if clamp else distance
        shifted = log_buckets(near, buckets=buckets, max_distance=max_distance) if buckets else near
        rows = np.clip(shifted + span, 0, 2 * span - 1)
        settled = clamp and reach >= max_distance
        if settled or reach >= MOST_DISTANCE or buckets == 1 or (rows[0] == 0 and rows[-1] == 2 * span - 1):
            rows.setflags(write=False)
            return rows
        reach = min(2 * reach, MOST_DISTANCE)


def distance_rows(config: BaseConfig) -> NDArray[np.int64]:
    """Row of the relative table for each distance, farther ones sharing the ends.

    Returns:
        int64 ``[2T+1]``; entry ``T + d`` is the row of distance ``d`` (query minus key, tokens), and distances
        beyond ``T`` have the row of ``T``.
    """
    return _rows(config.span, config.buckets, config.max_distance, config.clamp_distances)


def needed_rows(rows: NDArray[np.integer[Any]], *, queries: int, keys: int) -> tuple[int, int]:
    """First and last row that ``queries`` x ``keys`` tokens read, both included."""
    reach = len(rows) // 2
    used = rows[reach - min(keys - 1, reach) : reach + min(queries - 1, reach) + 1]
    return int(used.min()), int(used.max())  # the ends are not the extremes where there is one bucket


def even_distance(rows: NDArray[np.integer[Any]]) -> int:
    """The largest distance up to which, on either side, rows follow each other one by one."""
    middle = len(rows) // 2
    uneven = np.flatnonzero(np.diff(rows) != 1)  # step i leads from distance i - middle to the next
    return int(np.where(uneven < middle, middle - 1 - uneven, uneven - middle).min(initial=middle))
