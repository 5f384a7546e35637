"""Turning tensors into bytes block by block, so that no second copy of a large one is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from io import RawIOBase
from typing import Any, Self

import numpy as np

from deberta_core.checkpoint.tensors import DTYPES, Source, TensorInfo

_BLOCK = 1 << 24  # bytes
# A transposed matrix is made in blocks of so many rows, and these in strips of a cache line of float32.
_ROWS, _STRIP = 256, 16


class Helped(AbstractContextManager[Any]):
    """Has a thread of its own, which ends with the ``with`` statement; what it has not begun by then is dropped."""

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)


class Sender(Helped):
    """Writes the tensors of a file one by one; nothing of them is held afterwards. A context manager.

    Blocks of a transposed matrix are made in buffers that are used again and again, the next one while the last one is
    being written: fresh memory for each would take as long as the transposition.

    Args:
        progress: told the number of bytes after each run that was written.
    """

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress
        self._buffers = [np.empty(0, np.uint8), np.empty(0, np.uint8)]

    def send(self, info: TensorInfo, source: Source, write: Callable[[memoryview], object]) -> None:
        """Write one tensor.

        Args:
            info: what was announced.
            source: the array, or a function that makes it; bfloat16 as uint16 bit patterns.
            write: takes a run of bytes, all of it, and keeps none of it.

        Raises:
            ValueError: the data is not as announced.
        """
        for block in self._blocks(_fetch(info, source)):
            write(block)
            self._progress(len(block))

    def _blocks(self, array: np.ndarray) -> Iterator[memoryview]:
        """Bytes of an array of any strides and byte order in row-major, little-endian order."""
        little: np.dtype[Any] = array.dtype.newbyteorder("<")
        if array.flags.c_contiguous and array.dtype == little:
            flat = array.reshape(-1).view(np.uint8)
            for start in range(0, flat.size, _BLOCK):
                yield flat[start : start + _BLOCK].data
            return
        whole = array.reshape(1) if array.ndim == 0 else array
        row = max(1, math.prod(whole.shape[1:]) * array.dtype.itemsize)
        step = max(1, min(_ROWS, _BLOCK // row))
        made = None
        for number, start in enumerate(range(0, whole.shape[0], step)):
            making = self._thread.submit(self._make, whole[start : start + step], little, number % 2)
            if made is not None:
                yield made.result()
            made = making
        if made is not None:
            yield made.result()

    def _make(self, part: np.ndarray, dtype: np.dtype[Any], number: int) -> memoryview:
        """A row-major copy."""
        if self._buffers[number].size < part.nbytes:
            self._buffers[number] = np.empty(part.nbytes, np.uint8)
        flat = self._buffers[number][: part.nbytes]
        made = flat.view(dtype).reshape(part.shape)
        for start in range(0, part.shape[-1], _STRIP):
            made[..., start : start + _STRIP] = part[..., start : start + _STRIP]
        return flat.data


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
