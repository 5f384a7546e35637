"""The texts of a call in all the forms they may have: one text, pairs, batches, texts split into words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, TypeVar

Side = str | list[str]
# How columns of pyarrow, their single values, columns of polars and pandas, and arrays turn into Python's own values.
TO_LIST = ("to_pylist", "as_py", "tolist", "to_list")
ONE_COLUMN = "table['text']"
T = TypeVar("T")
U = TypeVar("U")
Texts = tuple[list[T], list[T | None] | None]  # one for each first text, one for each second where there are pairs


def each(texts: Texts[T], make: Callable[[T], U]) -> Texts[U]:
    """What is made of each text."""
    firsts, seconds = texts
    made = None if seconds is None else [None if one is None else make(one) for one in seconds]
    return [make(one) for one in firsts], made


@dataclass(frozen=True, slots=True)
class Examples:
    """The texts of a call; a list holds the words of a text that came split.

    Args:
        firsts: the first text of each example.
        seconds: the second ones; ``None`` where no example is a pair.
        split: the texts came as words.
        single: the call gave one example, not a batch.
    """

    firsts: list[Any]
    seconds: list[Any] | None
    split: bool
    single: bool

    def flat(self) -> list[str]:
        """Every text, or every word, in the order of ``unflatten``."""
        return [word for side in self.sides() for word in side] if self.split else self.sides()

    def sides(self) -> list[Any]:
        """Every text, those of a pair one after the other."""
        if self.seconds is None:
            return self.firsts
        return [side for example in zip(self.firsts, self.seconds, strict=True) for side in example if side is not None]

    def unflatten(self, values: list[T], join: Callable[[list[T]], T]) -> Texts[T]:
        """What was made of each entry of ``flat()``, as firsts and seconds.

        Args:
            values: one for each entry.
            join: puts the values of the words of a text together.
        """
        if self.seconds is None and not self.split:
            return values, None
        rest = iter(values)

        def take(side: Any) -> T:
            return join([next(rest) for _ in side]) if self.split else next(rest)

        firsts: list[T] = []
        seconds: list[T | None] = []
        for first, second in zip(self.firsts, self.seconds or repeat(None), strict=False):
            firsts.append(take(first))
            seconds.append(None if second is None else take(second))
        return firsts, None if self.seconds is None else seconds


def words_with_spaces(
    words: Sequence[str], first: bool, spacing: Callable[[str], str | None]
) -> list[tuple[str, bool]]:
    """The words of a text that bring their own spaces, and whether a space stands before each.

    A space at the end of a word stands before the next one, as tokens have it: ``"New "``, ``"York"`` are the tokens of
    ``"New"``, ``" York"``.

    Args:
        words: the words.
        first: whether a space stands before the text.
        spacing: what the engine leaves of a character.
    """
    found: list[tuple[str, bool]] = []
    space, before = first, -1  # before: the last word that is not empty
    for word in words:
        if space and before >= 0 and word and not word[0].isspace() and found[before][0].endswith(" "):
            found[before] = found[before][0][:-1], found[before][1]
        kinds = [kind for char in word if (kind := spacing(char)) != ""]
        before = len(found) if word else before
        found.append((word, space or kinds[:1] == [" "]))
        space = kinds[-1] == " " if kinds else space
    return found


def read_examples(text: Any, pair: Any, split: bool) -> Examples:
    """The examples of a call.

    Args:
        text: a text, a batch of texts or of pairs; with ``split`` a list of words, or a batch of such lists.
        pair: the second text, or one for each text of the batch.
        split: texts come as lists of words.

    Raises:
        TypeError: something is no text, or a batch meets a single second text.
        ValueError: the two batches differ in length.
    """
    text, pair = listed(text), listed(pair)
    if pair is None and not split and isinstance(text, list) and set(map(type, text)) <= {str}:
        return Examples(list(text), None, False, False)
    if _is_one(text, split):
        if pair is not None and not _is_one(pair, split):
            raise TypeError(f"text is a single one but text_pair is {_kind(pair)}; give both as one or both as lists")
        seconds = None if pair is None else [_side(pair, split, 0)]
        return Examples([_side(text, split, 0)], seconds, split, True)
    if not isinstance(text, list):
        raise TypeError(f"a text is a string or a list of strings, not {text!r}; {_advice(text)}")
    if pair is None:
        examples = [_example(item, split, number) for number, item in enumerate(text)]
        has_pairs = any(second is not None for _, second in examples)
        return Examples(
            [first for first, _ in examples], [second for _, second in examples] if has_pairs else None, split, False
        )
    if _is_one(pair, split) or not isinstance(pair, list):
        raise TypeError(f"text is a batch but text_pair is {_kind(pair)}; give one second text for each of the batch")
    if len(text) != len(pair):
        raise ValueError(f"text has {len(text)} entries and text_pair {len(pair)}; give one second text for each first")
    firsts = [_side(item, split, number) for number, item in enumerate(text)]
    return Examples(firsts, [_side(item, split, number) for number, item in enumerate(pair)], split, False)


def _kind(value: Any) -> str:
    return f"a batch of {len(value)}" if isinstance(value, list) else repr(value)


def listed(value: Any) -> Any:
    """A column, array or sequence as a list, and a single value of one as Python's own; anything else as it is.

    Raises:
        TypeError: for a table.
    """
    if isinstance(value, (str, bytes, list)) or value is None:
        return value
    if any(hasattr(type(value), name) for name in ("columns", "column_names")):
        raise TypeError(f"a {type(value).__name__} has several columns, expected one, such as {ONE_COLUMN}")
    for name in TO_LIST:
        if hasattr(value, name) and not isinstance(value, type):
            return getattr(value, name)()
    return list(value) if isinstance(value, Sequence) else value


def values_of(column: Any) -> list[Any]:
    """The values of a column, or of a list of what columns hold, as Python's own."""
    return [value if isinstance(value, str) else listed(value) for value in listed(column)]


def _is_one(value: Any, split: bool) -> bool:
    if isinstance(value, str):
        return True
    return split and isinstance(value, list) and bool(value) and isinstance(value[0], str)


def _example(item: Any, split: bool, number: int) -> tuple[Side, Side | None]:
    if isinstance(item, str) and not split:
        return item, None
    item = listed(item)
    is_pair = isinstance(item, list) and len(item) == 2
    if is_pair and (not split or any(isinstance(side, (list, tuple)) for side in item)):
        return _side(item[0], split, number), _side(item[1], split, number)
    if isinstance(item, list) and not split:
        raise TypeError(
            f"entry {number} is a list of {len(item)}, expected a text or a pair of texts; "
            "use is_split_into_words=True where a list holds the words of one text"
        )
    return _side(item, split, number), None


def _side(value: Any, split: bool, number: int) -> Side:
    if isinstance(value, str):
        if split:
            raise TypeError(f"entry {number} is {value!r}, expected a list of words with is_split_into_words=True")
        return value if type(value) is str else str(value)
    value = listed(value)
    if isinstance(value, str):
        return _side(value, split, number)
    if split and isinstance(value, list):
        value = values_of(value)
        for word in value:
            if not isinstance(word, str):
                raise TypeError(f"entry {number} holds the word {word!r}, expected a string; {_advice(word)}")
        return [str(word) for word in value]
    raise TypeError(f"entry {number} is {value!r}, expected a string; {_advice(value)}")


def _advice(value: Any) -> str:
    missing = value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and value != value)
    if missing:
        return "replace missing texts by ''"
    if isinstance(value, bytes):
        return "decode bytes first, for instance with .decode('utf-8')"
    if isinstance(value, list):
        return "use is_split_into_words=True where a list holds the words of one text"
    return "turn numbers into text with str(), and ids into text with decode()"
