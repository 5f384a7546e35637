"""The elements of a tensor on their way: other types, and what is no number."""

from __future__ import annotations

from typing import Any

import numpy as np

from deberta_core.checkpoint import bfloat16_to_float32, float32_to_bfloat16
from deberta_core.checkpoint.tensors import DTYPES

FLOATS = ("float64", "float32", "float16", "bfloat16")
_BLOCK = 1 << 18  # elements; a block and its copies stay in the cache
# Bits of a float type with all ones in the exponent: infinity; what is above it is NaN.
_INFINITY = {"float64": 0x7FF0_0000_0000_0000, "float32": 0x7F80_0000, "float16": 0x7C00, "bfloat16": 0x7F80}


def count_not_finite(array: np.ndarray[Any, Any], dtype: str) -> tuple[int, int]:
    """Number of NaN and of infinite elements; nothing of the size of the tensor is allocated.

    Args:
        array: any shape; bfloat16 as uint16 bit patterns.
        dtype: name of its element type; integers have neither.
    """
    if dtype not in _INFINITY:
        return 0, 0
    nan = infinite = 0
    unsigned = np.dtype(f"u{array.dtype.itemsize}")
    limit = unsigned.type(_INFINITY[dtype])
    mask = unsigned.type((1 << (8 * unsigned.itemsize - 1)) - 1)
    for block in _blocks(array):
        bits = block.view(unsigned) & mask
        if bits.max(initial=0) >= limit:
            nan += int((bits > limit).sum())
            infinite += int((bits == limit).sum())
    return nan, infinite


def is_bfloat16_in_disguise(array: np.ndarray[Any, Any]) -> bool:
    """Whether every float32 element is exactly a bfloat16.

    Args:
        array: float32, any shape.
    """
    return not any((block.view(np.uint32) & np.uint32(0xFFFF)).any() for block in _blocks(array))


def cast(array: np.ndarray[Any, Any], stored: str, wanted: str) -> np.ndarray[Any, Any]:
    """Elements in another floating-point type, rounded to the nearest; overflow gives infinity.

    Args:
        array: as stored, bfloat16 as uint16 bit patterns.
        stored: name of its type.
        wanted: name of the type to come.

    Returns:
        The array itself where nothing changes; bfloat16 as bit patterns.
    """
    if stored == wanted:
        return array
    values = bfloat16_to_float32(array) if stored == "bfloat16" else array
    with np.errstate(over="ignore"):
        if wanted == "bfloat16":
            return float32_to_bfloat16(values)
        return values.astype(DTYPES[wanted].raw.newbyteorder("="), copy=False)


def is_narrower(stored: str, wanted: str) -> bool:
    """Whether a type cannot hold every value of the other one.

    Args:
        stored: name of the floating-point type of the values.
        wanted: name of the type they are to be given.
    """
    order = {"float64": 3, "float32": 2, "float16": 1, "bfloat16": 1}
    return stored != wanted and order.get(wanted, 0) <= order.get(stored, 0)


def _blocks(array: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    flat = array.reshape(-1)  # a view: stored tensors are dense
    return [flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK)]
