"""Turning tensors into bytes block by block, so that no second copy of a large one is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import RawIOBase
from typing import Any

import numpy as np

from deberta_core.checkpoint.dtypes import DTYPES, element_count
from deberta_core.checkpoint.tensor_file import TensorInfo

Source = np.ndarray | Callable[[], np.ndarray]

_BLOCK = 1 << 24  # bytes
_STRIP = 16  # elements: one cache line of float32


def send(
    info: TensorInfo, source: Source, write: Callable[[memoryview], object], progress: Callable[[int], None]
) -> None:
    """Write one tensor; nothing of it is held afterwards.

    Args:
        info: what was announced.
        source: the array, or a function that makes it; bfloat16 as uint16 bit patterns.
        write: takes a run of bytes, all of it.
        progress: told the number of bytes after each run.

    Raises:
        ValueError: the data is not as announced.
    """
    for block in _blocks(_fetch(info, source)):
        write(block)
        progress(len(block))


def write_all(file: RawIOBase, data: bytes | memoryview) -> None:
    """Write to an unbuffered file, which may take less than it is given."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def _fetch(info: TensorInfo, source: Source) -> np.ndarray:
    """The data of a tensor that is about to be written, checked against what was announced."""
    array = source() if callable(source) else source
    expected = DTYPES[info.dtype].raw
    if tuple(array.shape) != info.shape or array.dtype.newbyteorder("<") != expected:
        raise ValueError(
            f"tensor {info.name!r} was announced as {info.dtype} {info.shape} (NumPy {expected.name}) but came as "
            f"{array.dtype} {tuple(array.shape)}"
        )
    return array


def _blocks(array: np.ndarray) -> Iterator[memoryview]:
    """Bytes of an array of any strides and byte order in row-major, little-endian order, in runs of some 16 MiB."""
    little: np.dtype[Any] = array.dtype.newbyteorder("<")
    if array.flags.c_contiguous and array.dtype == little:
        flat = array.reshape(-1).view(np.uint8)
        for start in range(0, flat.size, _BLOCK):
            yield flat[start : start + _BLOCK].data
        return
    row = max(1, element_count(array.shape[1:]) * array.dtype.itemsize)
    step = max(1, _BLOCK // row)
    for start in range(0, array.shape[0] if array.ndim else 1, step):
        part = array[start : start + step] if array.ndim else array
        yield _dense(part, little).reshape(-1).view(np.uint8).data


def _dense(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """A row-major copy, made in narrow strips: a transposed matrix takes a third of the time in them."""
    result = np.empty(array.shape, dtype)
    if array.ndim < 2:
        result[...] = array
        return result
    for start in range(0, array.shape[-1], _STRIP):
        result[..., start : start + _STRIP] = array[..., start : start + _STRIP]
    return result
