"""Rows of a batch: stretches of tokens framed by the special ones, ``[CLS] A [SEP]`` or ``[CLS] A [SEP] B [SEP]``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from typing import Generic, TypeVar

from .arguments import RowOptions
from .batch import RowAlignment
from .engine import Pieces, Span
from .windows import Window, windows

T = TypeVar("T")
U = TypeVar("U")
Ids = tuple[list[list[int]], list[list[int] | None] | None]  # firsts and seconds


@dataclass(frozen=True, slots=True)
class Frame(Generic[T]):
    """What stands in the places of the special tokens.

    Args:
        single: before and behind one text.
        pair: before the first of two, between them, and behind the second.
    """

    single: tuple[tuple[T, ...], tuple[T, ...]] = ((), ())
    pair: tuple[tuple[T, ...], tuple[T, ...], tuple[T, ...]] = ((), (), ())

    def map(self, make: Callable[[T], U]) -> Frame[U]:
        """The same places with other things in them."""
        before, behind = (tuple(map(make, edge)) for edge in self.single)
        begin, between, end = (tuple(map(make, edge)) for edge in self.pair)
        return Frame((before, behind), (begin, between, end))

    def fill(self, value: U) -> Frame[U]:
        """The same places with one value in them."""
        return self.map(lambda _: value)


@dataclass(frozen=True, slots=True)
class Template:
    """How texts become rows.

    Args:
        ids: the special tokens.
        types: their token type ids.
        text_types: type ids of one text, of the first of two and of the second.
    """

    ids: Frame[int] = Frame()
    types: Frame[int] = Frame()
    text_types: tuple[int, int, int] = (0, 0, 1)

    def count(self, pair: bool) -> int:
        """Special tokens in a row."""
        return sum(map(len, self.ids.pair if pair else self.ids.single))


UNFRAMED = Template()


def published_template(cls_id: int, sep_id: int) -> Template:
    """``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]``, type ids 1 from B on."""
    begin, end = (cls_id,), (sep_id,)
    return Template(Frame((begin, end), (begin, end, end)), Frame(((0,), (0,)), ((0,), (0,), (1,))))


def frame(first: list[T], second: list[T] | None, around: Frame[T]) -> list[T]:
    """One or two stretches with what stands for the special tokens around them."""
    if second is None:
        return [*around.single[0], *first, *around.single[1]]
    begin, between, end = around.pair
    return [*begin, *first, *between, *second, *end]


def type_ids(first: int, second: int | None, template: Template) -> list[int]:
    """The token type ids of a row; in the published template 0 for the first stretch, 1 for the second."""
    single, *pair = template.text_types
    if second is None:
        return frame([single] * first, None, template.types)
    return frame([pair[0]] * first, [pair[1]] * second, template.types)


def frame_rows(firsts: list[list[T]], seconds: list[list[T] | None] | None, around: Frame[T]) -> list[list[T]]:
    """``frame`` for all rows. Where no sample is a pair, the lists that were given become the rows."""
    if seconds is not None:
        pairs = zip(firsts, seconds, strict=True)
        return [frame(first, second, around) for first, second in pairs]
    before, behind = around.single
    if before or behind:
        for first in firsts:
            first[:0] = before
            first += behind
    return firsts


def type_rows(firsts: list[list[int]], seconds: list[list[int] | None] | None, template: Template) -> list[list[int]]:
    """``type_ids`` for all rows."""
    if seconds is None and set(template.types.single[0] + template.types.single[1]) <= {template.text_types[0]}:
        more = template.count(False)
        return [[template.text_types[0]] * (len(first) + more) for first in firsts]
    pairs = zip(firsts, seconds or repeat(None), strict=False)
    return [type_ids(len(first), None if second is None else len(second), template) for first, second in pairs]


def blank_rows(firsts: list[list[int]], seconds: list[list[int] | None] | None) -> Ids:
    """Zeros in place of ids."""
    blank = [[0] * len(first) for first in firsts]
    if seconds is None:
        return blank, None
    return blank, [None if second is None else [0] * len(second) for second in seconds]


def plan(ids: Ids, options: RowOptions, template: Template) -> list[tuple[int, Window]] | None:
    """The number of the sample and the stretch of each row; ``None`` where every row is its whole sample.

    Raises:
        ValueError: a row cannot keep the limits.
    """
    firsts, seconds = ids
    limits = options.limits
    if limits.max_length is None or not limits.acts:
        return None
    pairs = seconds is not None
    limits.check(template.count(pairs))
    if not pairs and not limits.overflow:
        room = limits.max_length - template.count(False)
        if max(map(len, firsts), default=0) <= room:
            return None
    rows = []
    for number, (first, second) in enumerate(zip(firsts, seconds or repeat(None), strict=False)):
        length = None if second is None else len(second)
        specials = template.count(second is not None)
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
    firsts: list[Pieces],
    seconds: list[Pieces | None] | None,
    planned: list[tuple[int, Window]] | None,
    template: Template,
) -> list[RowAlignment]:
    """Where the tokens of each row come from."""

    def rows(take: Callable[[Pieces, int], list[T]], edge: T) -> list[list[T]]:
        one = [take(first, 0) for first in firsts]
        two = None if seconds is None else [None if second is None else take(second, 1) for second in seconds]
        return frame_rows(*cut_rows((one, two), planned), template.ids.fill(edge))

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
