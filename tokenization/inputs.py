"""The texts of a call in all the forms they may have: one text, pairs, batches, texts split into words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

Side = str | list[str]


class Sample(NamedTuple):
    """One text or pair; a list holds the words of a text that came split."""

    first: Side
    second: Side | None


def read_samples(text: Any, pair: Any, split: bool) -> tuple[list[Sample], bool]:
    """The samples of a call, and whether the call gave a single one.

    Args:
        text: a text, a batch of texts or of pairs; with ``split`` a list of words, or a batch of such lists.
        pair: the second text, or one for each text of the batch.
        split: texts come as lists of words.

    Raises:
        TypeError: something is no text, or a batch meets a single second text.
        ValueError: the two batches differ in length.
    """
    text, pair = _listed(text), _listed(pair)
    if _is_one(text, split):
        if pair is not None and not _is_one(pair, split):
            raise TypeError(
                f"text is a single one but text_pair is a batch of {len(pair)}; give both as one or both as lists"
            )
        return [Sample(_side(text, split, 0), None if pair is None else _side(pair, split, 0))], True
    if not isinstance(text, list):
        raise TypeError(f"a text is a string or a list of strings, not {text!r}; {_advice(text)}")
    if pair is None:
        return [_sample(item, split, number) for number, item in enumerate(text)], False
    if _is_one(pair, split) and not (split and not pair):
        raise TypeError("text is a batch but text_pair is a single text; give one second text for each of the batch")
    if not isinstance(pair, list):
        raise TypeError(f"text_pair is a string or a list of strings, not {pair!r}; {_advice(pair)}")
    if len(text) != len(pair):
        raise ValueError(f"text has {len(text)} entries and text_pair {len(pair)}; give one second text for each first")
    return [
        Sample(_side(first, split, number), _side(second, split, number))
        for number, (first, second) in enumerate(zip(text, pair, strict=True))
    ], False


def _listed(value: Any) -> Any:
    if isinstance(value, (str, bytes, list)) or value is None:
        return value
    if hasattr(value, "tolist") and getattr(value, "ndim", 0):
        return value.tolist()
    return list(value) if isinstance(value, Sequence) else value


def _is_one(value: Any, split: bool) -> bool:
    if isinstance(value, str):
        return True
    return split and isinstance(value, list) and bool(value) and isinstance(value[0], str)


def _sample(item: Any, split: bool, number: int) -> Sample:
    if isinstance(item, str) and not split:
        return Sample(item, None)
    item = _listed(item)
    is_pair = isinstance(item, list) and len(item) == 2
    if is_pair and (not split or any(isinstance(side, (list, tuple)) for side in item)):
        return Sample(_side(item[0], split, number), _side(item[1], split, number))
    if isinstance(item, list) and not split:
        raise TypeError(
            f"entry {number} is a list of {len(item)}, expected a text or a pair of texts; "
            "use is_split_into_words=True where a list holds the words of one text"
        )
    return Sample(_side(item, split, number), None)


def _side(value: Any, split: bool, number: int) -> Side:
    if isinstance(value, str):
        if split:
            raise TypeError(f"entry {number} is {value!r}, expected a list of words with is_split_into_words=True")
        return value if type(value) is str else str(value)
    value = _listed(value)
    if split and isinstance(value, list):
        for word in value:
            if not isinstance(word, str):
                raise TypeError(f"entry {number} holds the word {word!r}, expected a string; {_advice(word)}")
        return [str(word) for word in value]
    raise TypeError(f"entry {number} is {value!r}, expected a string; {_advice(value)}")


def _advice(value: Any) -> str:
    if value is None:
        return "replace missing texts by ''"
    if isinstance(value, bytes):
        return "decode bytes first, for instance with .decode('utf-8')"
    if isinstance(value, list):
        return "use is_split_into_words=True where a list holds the words of one text"
    return "turn numbers into text with str(), and ids into text with decode()"
