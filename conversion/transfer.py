"""The elements of tensors on their way: read one tensor at a time, cast, looked at, and brought to the disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from conversion.plan import Move
from conversion.source import Source
from conversion.values import cast, count_not_finite, is_narrower
from deberta_core.weight_names import flip_axes

EVERY = 1 << 26  # bytes


@dataclass
class Reader:
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

    def supplier(self, move: Move) -> Callable[[], np.ndarray[Any, Any]]:
        """A function that gives the tensor's elements when its turn has come."""

        def read() -> np.ndarray[Any, Any]:
            self._wait()  # so that the tensor before this one is let go
            raw = self.source.read_raw(move.source.name)
            array = cast(raw, move.source.dtype, move.target.dtype)
            self._counting = self._threads.submit(self._count, move, raw, array)
            return flip_axes(array) if move.flipped else array

        return read

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

    def __enter__(self) -> Self:
        self._threads = ThreadPoolExecutor(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            self._threads.shutdown(cancel_futures=True)


class Flusher:
    """Asks the system, every so many bytes, to write the files of a folder out; a hint that is free to do nothing.

    A large file that is written faster than the disk takes it fills the memory with pages that wait, and the writer
    then waits for the system to find more. Having each part written at once, and letting go of what has been, makes
    conversions of some gigabytes a third to two fifths faster (measured with ``benchmarks/conversion.py``).

    A context manager; the asking takes time, so a thread of its own does it.

    Args:
        folder: where files are being written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting = 0

    def count(self, nbytes: int) -> None:
        """So many more bytes have been written."""
        self._waiting += nbytes
        if self._waiting >= EVERY and hasattr(os, "posix_fadvise"):
            self._waiting = 0
            self._thread.submit(self._write_out_all)

    def _write_out_all(self) -> None:
        for entry in os.scandir(self._folder):
            if entry.is_file(follow_symlinks=False):
                _write_out(entry.path)

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)


def _write_out(path: str) -> None:
    with contextlib.suppress(OSError):  # the writer itself sees to it that all is on the disk in the end
        descriptor = os.open(path, os.O_RDONLY)
        try:
            # Pages that still wait are sent to the disk by this; those that have been are dropped.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
