"""Tensors as the target wants them, one at a time, and what is noticed in passing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from conversion.plan import Move
from conversion.source import Source
from conversion.values import cast, count_not_finite, is_narrower
from deberta_core.weight_names import flip_axes


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
