"""The elements of tensors on their way: read one tensor at a time, cast, looked at, and brought to the disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from conversion.source import Source
from deberta_core.checkpoint import TensorInfo
from deberta_core.checkpoint.streams import Helped
from deberta_core.checkpoint.tensors import cast

FLOATS = ("float64", "float32", "float16", "bfloat16")
EVERY = 1 << 26  # bytes
_BLOCK = 1 << 18  # elements; a block and its copies stay in the cache
# Bits of a float type with all ones in the exponent: infinity; what is above it is NaN.
_INFINITY = {"float64": 0x7FF0_0000_0000_0000, "float32": 0x7F80_0000, "float16": 0x7C00, "bfloat16": 0x7F80}


@dataclass(frozen=True)
class Move:
    """One tensor on its way.

    Attributes:
        source: name and type in the source.
        target: name, shape and type in the target.
        flipped: whether the axes are turned round.
    """

    source: TensorInfo
    target: TensorInfo
    flipped: bool


@dataclass
class Reader(Helped):
    """Reads tensors and counts what is no number in them while they are being written. A context manager.

    Attributes:
        source: the checkpoint.
        not_finite: number of NaN and of infinite elements by name, where there are any.
        overflowed: elements that became infinite in a narrower type, by name.
    """

    source: Source
    not_finite: dict[str, tuple[int, int]] = field(default_factory=dict)
    overflowed: dict[str, int] = field(default_factory=dict)
    _counting: Future[None] | None = None

    def read(self, move: Move) -> np.ndarray[Any, Any]:
        """The tensor's elements as the target has them; asked for when its turn to be written has come."""
        self._wait()  # so that the tensor before this one is let go
        raw = self.source.read_raw(move.source.name)
        array = cast(raw, move.source.dtype, move.target.dtype)
        self._counting = self._thread.submit(self._count, move, raw, array)
        return array.T if move.flipped else array

    def _count(self, move: Move, raw: np.ndarray[Any, Any], array: np.ndarray[Any, Any]) -> None:
        stored, wanted = move.source.dtype, move.target.dtype
        nan, infinite = count_not_finite(raw, stored)
        if nan or infinite:
            self.not_finite[move.source.name] = (nan, infinite)
        if is_narrower(stored, wanted) and (lost := count_not_finite(array, wanted)[1] - infinite):
            self.overflowed[move.source.name] = lost

    def _wait(self) -> None:
        if self._counting is not None:
            self._counting.result()
            self._counting = None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            super().__exit__(kind)


class Flusher(Helped):
    """Asks the system, every so many bytes, to write the files of a folder out; a hint that is free to do nothing.

    A large file that is written faster than the disk takes it fills the memory with pages that wait, and the writer
    then waits for the system to find more. Having each part written at once, and letting go of what has been, makes
    conversions of some gigabytes a third to two fifths faster (measured with ``benchmarks/conversion.py``).

    A context manager; the asking takes time, so a thread of its own does it.

    Args:
        folder: where files are being written.
        tell: told the bytes written so far, each time that it is told of more.
    """

    def __init__(self, folder: Path, tell: Callable[[int], None] | None = None) -> None:
        self._folder, self._tell = folder, tell
        self._done = self._waiting = 0

    def count(self, nbytes: int) -> None:
        """So many more bytes have been written."""
        self._done += nbytes
        if self._tell is not None:
            self._tell(self._done)
        self._waiting += nbytes
        if self._waiting >= EVERY and hasattr(os, "posix_fadvise"):
            self._waiting = 0
            self._thread.submit(self._write_out_all)

    def _write_out_all(self) -> None:
        for entry in os.scandir(self._folder):
            if entry.is_file(follow_symlinks=False):
                _write_out(entry.path)


def _write_out(path: str) -> None:
    with contextlib.suppress(OSError):  # the writer itself sees to it that all is on the disk in the end
        descriptor = os.open(path, os.O_RDONLY)
        try:
            # Pages that still wait are sent to the disk by this; those that have been are dropped.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


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
