"""Where special tokens stand: ``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]``, or what a tokenizer.json says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Window(NamedTuple):
    """The stretch of an example's first text, and of the second one of a pair, that one feature holds."""

    example: int
    first: slice
    second: slice | None


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

    def around(self, first: Sequence[T], second: Sequence[T] | None = None) -> list[T]:
        """One or two texts in the frame."""
        if second is None:
            return [*self.single[0], *first, *self.single[1]]
        return [*self.pair[0], *first, *self.pair[1], *second, *self.pair[2]]

    def features(
        self,
        firsts: Sequence[Sequence[T]],
        seconds: Sequence[Sequence[T] | None] | None = None,
        windows: Sequence[Window] | None = None,
    ) -> list[list[T]]:
        """Every feature of a batch in the frame.

        Args:
            firsts: one entry for each token of each first text.
            seconds: the same of the second texts, ``None`` where no example is a pair.
            windows: the stretches that make the features, ``None`` where each example is one whole feature.
        """
        if windows is not None:
            firsts = [firsts[window.example][window.first] for window in windows]
            if seconds is not None:
                chosen = [(seconds[window.example], window.second) for window in windows]
                seconds = [None if one is None or stretch is None else one[stretch] for one, stretch in chosen]
        if seconds is None:
            before, behind = self.single
            return [[*before, *first, *behind] for first in firsts]
        return [self.around(first, second) for first, second in zip(firsts, seconds, strict=True)]


@dataclass(frozen=True, slots=True)
class Template:
    """How texts become features.

    Args:
        ids: the special tokens.
        types: their token type ids.
        text_types: type ids of one text, of the first of two and of the second.
    """

    ids: Frame[int] = Frame()
    types: Frame[int] = Frame()
    text_types: tuple[int, int, int] = (0, 0, 1)

    def count(self, pair: bool) -> int:
        """Special tokens in a feature."""
        return sum(map(len, self.ids.pair if pair else self.ids.single))

    def type_ids(
        self,
        firsts: Sequence[Sequence[int]],
        seconds: Sequence[Sequence[int] | None] | None = None,
        windows: Sequence[Window] | None = None,
    ) -> list[list[int]]:
        """The token type ids of every feature; the arguments are those of ``Frame.features``."""
        alone, first_of_two, second_of_two = self.text_types
        if seconds is None and windows is None and {*self.types.single[0], *self.types.single[1]} <= {alone}:
            more = self.count(pair=False)  # as in the published template: one number for the whole
            return [[alone] * (len(first) + more) for first in firsts]
        pairs = seconds or repeat(None)
        kinds = [[alone if b is None else first_of_two] * len(a) for a, b in zip(firsts, pairs, strict=False)]
        others = None if seconds is None else [None if b is None else [second_of_two] * len(b) for b in seconds]
        return self.types.features(kinds, others, windows)


UNFRAMED = Template()


@lru_cache
def published_template(cls_id: int, sep_id: int) -> Template:
    """``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]``, type ids 1 from B on."""
    begin, end = (cls_id,), (sep_id,)
    return Template(Frame((begin, end), (begin, end, end)), Frame(((0,), (0,)), ((0,), (0,), (1,))))
