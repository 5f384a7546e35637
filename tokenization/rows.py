"""Rows of a batch: stretches of tokens framed by the special ones, ``[CLS] A [SEP]`` or ``[CLS] A [SEP] B [SEP]``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import TypeVar

from .arguments import RowOptions
from .batch import RowAlignment
from .engine import Pieces, Span
from .windows import Window, windows

T = TypeVar("T")
Ids = tuple[list[list[int]], list[list[int] | None] | None]  # firsts and seconds


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


def frame_rows(
    firsts: list[list[T]], seconds: list[list[T] | None] | None, begin: T, end: T, special: bool
) -> list[list[T]]:
    """``frame`` for all rows. Where no sample is a pair, the lists that were given become the rows."""
    if seconds is not None:
        pairs = zip(firsts, seconds, strict=True)
        return [frame(first, second, begin, end, special) for first, second in pairs]
    if special:
        for first in firsts:
            first.insert(0, begin)
            first.append(end)
    return firsts


def type_rows(
    firsts: list[list[int]], seconds: list[list[int] | None] | None, rows: list[list[int]], special: bool
) -> list[list[int]]:
    """``type_ids`` for all rows."""
    if seconds is None:
        return [[0] * len(row) for row in rows]
    pairs = zip(firsts, seconds, strict=True)
    return [type_ids(len(first), None if second is None else len(second), special) for first, second in pairs]


def blank_rows(firsts: list[list[int]], seconds: list[list[int] | None] | None) -> Ids:
    """Zeros in place of ids."""
    blank = [[0] * len(first) for first in firsts]
    if seconds is None:
        return blank, None
    return blank, [None if second is None else [0] * len(second) for second in seconds]


def plan(ids: Ids, options: RowOptions) -> list[tuple[int, Window]] | None:
    """The number of the sample and the stretch of each row; ``None`` where every row is its whole sample.

    Raises:
        ValueError: a row cannot keep the limits.
    """
    firsts, seconds = ids
    limits = options.limits
    if limits.max_length is None or not limits.acts:
        return None
    pairs = seconds is not None
    limits.check(special_count(pairs, options.special))
    if not pairs and not limits.overflow:
        room = limits.max_length - special_count(False, options.special)
        if max(map(len, firsts), default=0) <= room:
            return None
    rows = []
    for number, (first, second) in enumerate(zip(firsts, seconds or repeat(None), strict=False)):
        length = None if second is None else len(second)
        specials = special_count(second is not None, options.special)
        rows += [(number, window) for window in windows(len(first), length, specials, limits)]
    return rows


def cut(first: list[T], second: list[T] | None, window: Window) -> tuple[list[T], list[T] | None]:
    """The stretches of one row."""
    if second is None or window.second is None:
        return first[window.first], None
    return first[window.first], second[window.second]


def cut_rows(
    values: tuple[list[list[T]], list[list[T] | None] | None], planned: list[tuple[int, Window]] | None
) -> tuple[list[list[T]], list[list[T] | None] | None]:
    """The stretches of all rows, of ids or of what else goes with tokens."""
    if planned is None:
        return values
    firsts, seconds = values
    rows = [cut(firsts[number], seconds[number] if seconds else None, window) for number, window in planned]
    return [first for first, _ in rows], None if seconds is None else [second for _, second in rows]


def align_rows(
    firsts: list[Pieces], seconds: list[Pieces | None] | None, planned: list[tuple[int, Window]] | None, special: bool
) -> list[RowAlignment]:
    """Where the tokens of each row come from."""

    def rows(take: Callable[[Pieces, int], list[T]], edge: T) -> list[list[T]]:
        one = [take(first, 0) for first in firsts]
        two = None if seconds is None else [None if second is None else take(second, 1) for second in seconds]
        return frame_rows(*cut_rows((one, two), planned), edge, edge, special)

    none: int | None = None
    spans = rows(lambda pieces, _: pieces.spans, (0, 0))
    words = rows(lambda pieces, _: [*pieces.words], none)
    sequences = rows(lambda pieces, side: [side] * len(pieces.ids), none)
    return [RowAlignment(*row) for row in zip(spans, words, sequences, strict=True)]


def ids_of(firsts: list[Pieces], seconds: list[Pieces | None] | None) -> Ids:
    """The ids of pieces."""
    two = None if seconds is None else [None if second is None else second.ids for second in seconds]
    return [first.ids for first in firsts], two


def spans_of(
    firsts: list[Pieces], seconds: list[Pieces | None] | None
) -> tuple[list[list[Span]], list[list[Span] | None] | None]:
    """The spans of pieces."""
    two = None if seconds is None else [None if second is None else second.spans for second in seconds]
    return [first.spans for first in firsts], two
