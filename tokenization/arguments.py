"""The arguments of a call, checked and put into one form."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .tensors import plain
from .windows import STRATEGIES, Limits

# A limit at or above this many tokens is written by other libraries to say that there is none.
NO_LIMIT = 10**20

PADDING: dict[Any, str] = {
    None: "do_not_pad",
    False: "do_not_pad",
    True: "longest",
    "longest": "longest",
    "max_length": "max_length",
    "do_not_pad": "do_not_pad",
}
NO_LIMITS = Limits()
TRUNCATION: dict[Any, str] = {
    None: "do_not_truncate",
    False: "do_not_truncate",
    True: "longest_first",
    **{s: s for s in STRATEGIES},
}


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How a call reads its texts.

    Args:
        prefix: v1: put a space before a text; v2 and v3: let the model do so.
        specials: recognise special tokens in the text.
        trim: leave out the white space at the start of spans.
        num_threads: cores for a batch.
        separator: what stands between the words of a text that comes split: a space, or nothing.
    """

    prefix: bool
    specials: bool
    trim: bool
    num_threads: int
    separator: str = " "

    @property
    def which(self) -> str:
        """The added tokens to look for."""
        return "all" if self.specials else "plain"


@dataclass(frozen=True, slots=True)
class RowOptions:
    """How a call makes rows.

    Args:
        special: add the special tokens.
        limits: the truncation.
        padding: ``longest``, ``max_length`` or ``do_not_pad``.
        pad_to: length for ``max_length`` in tokens, ``None`` for no limit.
        multiple: the padded length is a multiple of this number of tokens.
        side: side of the padding.
    """

    special: bool = True
    limits: Limits = NO_LIMITS
    padding: str = "do_not_pad"
    pad_to: int | None = None
    multiple: int | None = None
    side: str = "right"


def row_options(
    *,
    special: bool,
    padding: Any,
    truncation: Any,
    max_length: int | None,
    stride: int,
    multiple: int | None,
    side: str,
    truncation_side: str,
    overflow: bool,
    model_max_length: int,
) -> RowOptions:
    """Checks the arguments that shape the rows; the names are those of a call.

    Raises:
        ValueError: an unknown strategy, a negative number, truncation without any limit.
        TypeError: a number is no integer.
    """
    kind, strategy = choice("padding", padding, PADDING), choice("truncation", truncation, TRUNCATION)
    for name, number, least in (("max_length", max_length, 0), ("pad_to_multiple_of", multiple, 1)):
        if number is not None:
            check_count(name, number, least)
    check_count("stride", stride, 0)
    if truncation is None and max_length is not None and kind == "do_not_pad":
        warnings.warn("max_length was given without truncation; truncation=True is assumed", stacklevel=4)
        strategy = "longest_first"
    model_limit = None if model_max_length >= NO_LIMIT else model_max_length
    limit = model_limit if max_length is None else max_length
    if strategy != "do_not_truncate" and limit is None:
        raise ValueError(
            f"truncation={truncation!r} has no limit to keep: this tokenizer's model_max_length is unlimited; "
            "give max_length, or set model_max_length to the model's max_position_embeddings"
        )
    limits = Limits(limit, strategy, truncation_side, stride, overflow)
    return RowOptions(special, limits, kind, limit, multiple, side)


def check_separator(value: Any, split: bool) -> str:
    """Checks what stands between words.

    Raises:
        ValueError: it is neither a space nor nothing, or texts do not come as words.
    """
    if value not in (" ", ""):
        raise ValueError(f"word_separator={value!r} is unknown; use ' ', or '' for words that bring their own spaces")
    if not split and not value:
        raise ValueError("word_separator='' is about words; it needs is_split_into_words=True and lists of words")
    return str(value)


def choice(name: str, value: Any, known: dict[Any, str]) -> str:
    """The canonical form of an argument with few values.

    Raises:
        ValueError: the value is not among ``known``.
    """
    value = plain(value)
    if isinstance(value, (str, bool)) or value is None:
        found = known.get(value)
        if found is not None:
            return found
    raise ValueError(f"{name}={value!r} is unknown; use one of {', '.join(map(repr, known))}")


def check_side(name: str, value: Any) -> str:
    """Checks a side of a row.

    Raises:
        ValueError: it is neither ``left`` nor ``right``.
    """
    if value not in ("left", "right"):
        raise ValueError(f"{name}={value!r} is unknown; use 'left' or 'right'")
    return str(value)


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Checks a number of things.

    Raises:
        TypeError: it is no integer.
        ValueError: it is below ``least``.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}={value!r} is no integer; give a whole number of at least {least}")
    number: int = value.__index__()
    if number < least:
        raise ValueError(f"{name}={value!r} is too small; give a whole number of at least {least}")
    return number


def unknown_keyword(name: str, owner: str, known: Iterable[str]) -> TypeError:
    """The error for a keyword that nothing reads, with the nearest known one."""
    near = difflib.get_close_matches(name, list(known), 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return TypeError(f"{owner} got an unknown keyword {name!r}{hint}")
