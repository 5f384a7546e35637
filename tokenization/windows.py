"""Truncation: which stretch of each text goes into a feature, and into how many features a text is cut."""

from __future__ import annotations

from itertools import repeat

from .arguments import BatchOptions
from .inputs import Texts, each
from .template import Template, Window


def windows(ids: Texts[list[int]], template: Template, options: BatchOptions) -> list[Window] | None:
    """The features that examples become; ``None`` where each example is one whole feature.

    Args:
        ids: those of the texts.
        template: the special tokens.
        options: the limits.

    Raises:
        ValueError: no feature can keep the limit, or the strategy cannot bring a pair down to it.
    """
    if not options.cuts:
        return None
    firsts, seconds = each(ids, len)
    limit = options.limit or 0
    pairs = seconds is not None
    specials = template.count(pairs)
    if limit < max(specials, 1):
        raise ValueError(
            f"max_length={limit} is too small: the special tokens alone take {specials}; use at least {specials + 1}"
        )
    if options.stride and options.stride >= limit - specials:
        raise ValueError(
            f"stride={options.stride} is too large: max_length={limit} leaves {limit - specials} "
            f"tokens beside {specials} special ones, and a window must move on by at least one; "
            "use a smaller stride or a larger max_length"
        )
    if not pairs and not options.overflow and max(firsts, default=0) <= limit - specials:
        return None
    found = []
    for number, (first, second) in enumerate(zip(firsts, seconds or repeat(None), strict=False)):
        excess = first + (second or 0) + template.count(second is not None) - limit
        found += [Window(number, *cut) for cut in _cuts(first, second, excess, options)]
    return found


def _cuts(first: int, second: int | None, excess: int, options: BatchOptions) -> list[tuple[slice, slice | None]]:
    """The stretches of one example; ``excess`` tokens must go."""
    whole_first, whole_second = slice(0, first), None if second is None else slice(0, second)
    strategy, limit, side = options.truncation, options.limit, options.truncation_side
    if excess <= 0:
        return [(whole_first, whole_second)]
    if second is None:
        if strategy == "only_second":
            raise ValueError(
                f"truncation='only_second' was asked for, but there is no second text; the row is {excess} tokens over "
                f"max_length={limit}; use 'only_first' or 'longest_first'"
            )
        return [(stretch, None) for stretch in _slide(first, first - excess, options)]
    if strategy == "longest_first":
        if options.overflow:
            raise ValueError(
                "windows of a pair need truncation='only_first' or 'only_second': with 'longest_first' both texts are "
                "cut, so there is no text to slide along"
            )
        keep_first, keep_second = longest_first(first, second, excess)
        return [(_kept(first, keep_first, side), _kept(second, keep_second, side))]
    length = first if strategy == "only_first" else second
    if length <= excess:
        raise ValueError(
            f"truncation={strategy!r} cannot bring the pair down to max_length={limit}: {excess} "
            f"tokens are too many and that text has only {length}; use 'longest_first', cut the other text, or raise "
            "max_length"
        )
    stretches = _slide(length, length - excess, options)
    if strategy == "only_first":
        return [(stretch, whole_second) for stretch in stretches]
    return [(whole_first, stretch) for stretch in stretches]


def longest_first(first: int, second: int, excess: int) -> tuple[int, int]:
    """Lengths left after taking tokens one at a time from the longer text, from the second where both are equal."""
    # One at a time would do: the longer one alone until both are equal, then both in turn, the second one first.
    from_longer = min(excess, abs(first - second))
    if first > second:
        first -= from_longer
    else:
        second -= from_longer
    rest = excess - from_longer
    return first - rest // 2, second - (rest - rest // 2)


def _kept(length: int, keep: int, side: str) -> slice:
    return slice(length - keep, length) if side == "left" else slice(0, keep)


def _slide(length: int, room: int, options: BatchOptions) -> list[slice]:
    """The windows of a text, or the first of them; with the left side cut off they start from the end."""
    if not options.overflow:
        return [_kept(length, room, options.truncation_side)]
    step = room - options.stride
    if step <= 0:
        raise ValueError(
            f"no room to slide: {room} tokens of the text fit into a row and stride={options.stride} of them would "
            "repeat; raise max_length or lower stride"
        )
    # A window that began within the last ``stride`` tokens would hold nothing that the one before has not.
    begins = range(0, max(length - options.stride, 1), step)
    spans = [(begin, min(begin + room, length)) for begin in begins]
    if options.truncation_side == "left":
        spans = [(length - end, length - begin) for begin, end in spans]
    return [slice(begin, end) for begin, end in spans]
