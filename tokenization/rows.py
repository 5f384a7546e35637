"""Rows of a batch: stretches of tokens framed by the special ones, ``[CLS] A [SEP]`` or ``[CLS] A [SEP] B [SEP]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from .arguments import RowOptions
from .batch import RowAlignment
from .engine import Pieces
from .windows import Window, windows

T = TypeVar("T")
Ids = tuple[list[int], list[int] | None]


def frame(first: list[T], second: list[T] | None, begin: T, end: T, special: bool) -> list[T]:
    """One or two stretches with what stands for the special tokens around them."""
    if not special:
        return first + (second or [])
    if second is None:
        return [begin, *first, end]
    return [begin, *first, end, *second, end]


def type_ids(first: int, second: int | None, special: bool) -> list[int]:
    """0 for the first stretch and its special tokens, 1 for the second and the one behind it."""
    extra = int(special)
    return [0] * (first + 2 * extra) + ([1] * (second + extra) if second is not None else [])


def special_count(pair: bool, special: bool) -> int:
    """Special tokens in a row."""
    return (3 if pair else 2) if special else 0


def plan(lengths: Sequence[tuple[int, int | None]], options: RowOptions) -> list[tuple[int, Window]]:
    """The number of the sample and the stretch of each row, from the lengths of the samples.

    Raises:
        ValueError: a row cannot keep the limits.
    """
    rows = []
    for number, (first, second) in enumerate(lengths):
        specials = special_count(second is not None, options.special)
        options.limits.check(specials)
        rows += [(number, window) for window in windows(first, second, specials, options.limits)]
    return rows


def cut(first: list[T], second: list[T] | None, window: Window) -> tuple[list[T], list[T] | None]:
    """The stretches of one row."""
    if second is None or window.second is None:
        return first[window.first], None
    return first[window.first], second[window.second]


def align(first: Pieces, second: Pieces | None, window: Window, special: bool) -> RowAlignment:
    """Where the tokens of one row come from."""
    none: Any = None
    sides: list[list[int | None]] = [[0] * len(first.ids), [1] * len(second.ids) if second else []]
    spans = cut(first.spans, second.spans if second else None, window)
    words: Any = cut(first.words, second.words if second else None, window)
    sequences = cut(sides[0], sides[1] if second else None, window)
    return RowAlignment(
        frame(*spans, (0, 0), (0, 0), special),
        frame(*words, none, none, special),
        frame(*sequences, none, none, special),
    )
