"""Truncation: which stretch of each text goes into a row, and into how many rows a text is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

STRATEGIES = ("longest_first", "only_first", "only_second", "do_not_truncate")


class Window(NamedTuple):
    """The stretch of the first text, and of the second one of a pair, that one row holds."""

    first: slice
    second: slice | None


@dataclass(frozen=True, slots=True)
class Limits:
    """How far rows may reach.

    Args:
        max_length: most tokens in a row, special ones included; ``None`` for no limit.
        strategy: one of ``STRATEGIES``.
        side: the end that is cut off, ``left`` or ``right``.
        stride: tokens that two windows of one text share.
        overflow: make a row of each window instead of the first only.
    """

    max_length: int | None = None
    strategy: str = "do_not_truncate"
    side: str = "right"
    stride: int = 0
    overflow: bool = False

    @property
    def acts(self) -> bool:
        """Whether there is a limit to keep."""
        return self.max_length is not None and self.strategy != "do_not_truncate"

    def check(self, specials: int) -> None:
        """Refuses limits that no row can keep.

        Args:
            specials: special tokens in each row.

        Raises:
            ValueError: there is no room beside the special tokens, or the stride takes all of it.
        """
        if self.max_length is None or not self.acts:
            return
        if self.max_length < max(specials, 1):
            raise ValueError(
                f"max_length={self.max_length} is too small: the special tokens alone take {specials}; "
                f"use at least {specials + 1}"
            )
        if self.stride and self.stride >= self.max_length - specials:
            raise ValueError(
                f"stride={self.stride} is too large: max_length={self.max_length} leaves {self.max_length - specials} "
                f"tokens beside {specials} special ones, and a window must move on by at least one; "
                "use a smaller stride or a larger max_length"
            )


def windows(first: int, second: int | None, specials: int, limits: Limits) -> list[Window]:
    """The rows that a text or a pair becomes.

    Args:
        first: tokens of the first text.
        second: tokens of the second one, ``None`` without a pair.
        specials: special tokens in the row.
        limits: the limits, already checked.

    Raises:
        ValueError: the strategy cannot bring the row down to the limit.
    """
    whole = Window(slice(0, first), None if second is None else slice(0, second))
    excess = 0
    if limits.acts and limits.max_length is not None:
        excess = first + (second or 0) + specials - limits.max_length
    if excess <= 0:
        return [whole]
    if second is None:
        if limits.strategy == "only_second":
            raise ValueError(
                f"truncation='only_second' was asked for, but there is no second text; the row is {excess} tokens over "
                f"max_length={limits.max_length}; use 'only_first' or 'longest_first'"
            )
        return [Window(cut, None) for cut in _cuts(first, first - excess, limits)]
    if limits.strategy == "longest_first":
        if limits.overflow:
            raise ValueError(
                "windows of a pair need truncation='only_first' or 'only_second': with 'longest_first' both texts are "
                "cut, so there is no text to slide along"
            )
        keep_first, keep_second = longest_first(first, second, excess)
        return [Window(_kept(first, keep_first, limits.side), _kept(second, keep_second, limits.side))]
    cut_first = limits.strategy == "only_first"
    length = first if cut_first else second
    if length <= excess:
        raise ValueError(
            f"truncation={limits.strategy!r} cannot bring the pair down to max_length={limits.max_length}: {excess} "
            f"tokens are too many and that text has only {length}; use 'longest_first', cut the other text, or raise "
            "max_length"
        )
    cuts = _cuts(length, length - excess, limits)
    if cut_first:
        return [Window(cut, whole.second) for cut in cuts]
    return [Window(whole.first, cut) for cut in cuts]


def longest_first(first: int, second: int, excess: int) -> tuple[int, int]:
    """Lengths left after taking tokens one at a time from the longer text, from the second where both are equal."""
    from_longer = min(excess, abs(first - second))
    if first > second:
        first -= from_longer
    else:
        second -= from_longer
    rest = excess - from_longer
    return first - rest // 2, second - (rest - rest // 2)


def _kept(length: int, keep: int, side: str) -> slice:
    return slice(length - keep, length) if side == "left" else slice(0, keep)


def _cuts(length: int, room: int, limits: Limits) -> list[slice]:
    if not limits.overflow:
        return [_kept(length, room, limits.side)]
    step = room - limits.stride
    if step <= 0:
        raise ValueError(
            f"no room to slide: {room} tokens of the text fit into a row and stride={limits.stride} of them would "
            "repeat; raise max_length or lower stride"
        )
    begins = range(0, max(length - limits.stride, 1), step)
    spans = [(begin, min(begin + room, length)) for begin in begins]
    if limits.side == "left":
        spans = [(length - end, length - begin) for begin, end in spans]
    return [slice(begin, end) for begin, end in spans]
