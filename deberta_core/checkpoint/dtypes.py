"""Element types of checkpoints: one row per type with its name in every file format.

NumPy has no bfloat16, so those tensors travel as their bit patterns in uint16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_RUN = 1 << 20  # elements


@dataclass(frozen=True)
class DType:
    """One element type.

    Args:
        name: the name of this project, which PyTorch, TensorFlow and NumPy share.
        raw: little-endian NumPy type of the stored elements.
        safetensors: code in a safetensors header, or None where the format has none.
        torch_storage: class in ``torch`` whose name a .bin file carries, or None.
    """

    name: str
    raw: np.dtype[Any]
    safetensors: str | None
    torch_storage: str | None


_ROWS = (
    DType("float64", np.dtype("<f8"), "F64", "DoubleStorage"),
    DType("float32", np.dtype("<f4"), "F32", "FloatStorage"),
    DType("float16", np.dtype("<f2"), "F16", "HalfStorage"),
    DType("bfloat16", np.dtype("<u2"), "BF16", "BFloat16Storage"),
    DType("int64", np.dtype("<i8"), "I64", "LongStorage"),
    DType("int32", np.dtype("<i4"), "I32", "IntStorage"),
    DType("int16", np.dtype("<i2"), "I16", "ShortStorage"),
    DType("int8", np.dtype("i1"), "I8", "CharStorage"),
    DType("uint64", np.dtype("<u8"), "U64", None),
    DType("uint32", np.dtype("<u4"), "U32", None),
    DType("uint16", np.dtype("<u2"), "U16", None),
    DType("uint8", np.dtype("u1"), "U8", "ByteStorage"),
    DType("bool", np.dtype("?"), "BOOL", "BoolStorage"),
    DType("complex64", np.dtype("<c8"), None, "ComplexFloatStorage"),
    DType("complex128", np.dtype("<c16"), None, "ComplexDoubleStorage"),
)

DTYPES = {row.name: row for row in _ROWS}
BY_SAFETENSORS = {row.safetensors: row for row in _ROWS if row.safetensors}
BY_TORCH_STORAGE = {row.torch_storage: row for row in _ROWS if row.torch_storage}


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Name of a NumPy element type, whatever its byte order.

    Raises:
        ValueError: no checkpoint holds elements of this type.
    """
    name = dtype.newbyteorder("=").name
    if name not in DTYPES:
        raise ValueError(f"element type {dtype} cannot be stored in a checkpoint; expected one of {', '.join(DTYPES)}")
    return name


def element_count(shape: Sequence[int]) -> int:
    """Number of elements of a shape, exact for any size (NumPy's product would wrap around)."""
    count = 1
    for size in shape:
        count *= size
    return count


def byte_count(shape: Sequence[int], dtype: str) -> int:
    """Bytes that a dense tensor takes, exact for any size."""
    return element_count(shape) * DTYPES[dtype].raw.itemsize


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """Widen bfloat16 without loss.

    Args:
        bits: uint16 bit patterns, any shape.

    Returns:
        float32 of the same shape and values.
    """
    wide = bits.astype(np.uint32)
    np.left_shift(wide, 16, out=wide)
    return wide.view(np.float32)


def float32_to_bfloat16(array: np.ndarray) -> np.ndarray:
    """Round float32 to the nearest bfloat16, ties to even; NaN stays NaN.

    Args:
        array: float32, any shape.

    Returns:
        uint16 bit patterns of the same shape.
    """
    flat = np.ascontiguousarray(array, dtype=np.float32).reshape(-1)
    result = np.empty(flat.shape, np.uint16)
    for start in range(0, flat.size, _RUN):  # the steps below need several copies
        part = flat[start : start + _RUN]
        bits = part.view(np.uint32)
        rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
        # Rounding could carry a NaN's payload over into infinity or zero: set its quiet bit instead.
        result[start : start + _RUN] = np.where(np.isnan(part), (bits >> 16) | 0x40, rounded)
    return result.reshape(array.shape)
