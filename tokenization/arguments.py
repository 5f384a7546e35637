"""The arguments of a call, checked and put into one form."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from deberta_core.wording import near

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
STRATEGIES = ("longest_first", "only_first", "only_second", "do_not_truncate")
TRUNCATION: dict[Any, str] = {
    None: "do_not_truncate",
    False: "do_not_truncate",
    True: "longest_first",
    **{strategy: strategy for strategy in STRATEGIES},
}
TENSOR_TYPES = {"pt": "torch", "tf": "tensorflow", "np": "numpy"}


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How a call reads its texts.

    Args:
        prefix: v1: put a space before a text; v2 and v3: let the model do so.
        which: the added tokens to look for in a text: ``all``, or ``plain`` for those that are not special.
        trim: leave out the white space at the start of spans.
        num_threads: cores for a batch.
        lower_case: v2 and v3: lower-case the text, but for special tokens.
        cut_punctuation: v2 and v3: encode each punctuation mark alone.
        separator: what stands between the words of a text that comes split: a space, or nothing.
    """

    prefix: bool
    which: str = "all"
    trim: bool = True
    num_threads: int = 1
    lower_case: bool = False
    cut_punctuation: bool = False
    separator: str = " "


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How a call makes a batch of features.

    Args:
        special: add the special tokens.
        padding: ``longest``, ``max_length`` or ``do_not_pad``.
        truncation: one of ``STRATEGIES``.
        limit: most tokens of a feature, special ones included, and the length for ``max_length``; ``None`` for none.
        stride: tokens that two windows of one text share.
        overflow: make a feature of each window instead of the first only.
        truncation_side: the end that is cut off, ``left`` or ``right``.
        padding_side: side of the padding.
        multiple: the padded length is a multiple of this number of tokens.
        outputs: whether each output was asked for; ``None`` leaves it to the tokenizer.
        tensors: ``pt``, ``tf`` or ``np``, or ``None`` for lists.
    """

    special: bool = True
    padding: str = "do_not_pad"
    truncation: str = "do_not_truncate"
    limit: int | None = None
    stride: int = 0
    overflow: bool = False
    truncation_side: str = "right"
    padding_side: str = "right"
    multiple: int | None = None
    outputs: Mapping[str, bool | None] = field(default_factory=dict)
    tensors: str | None = None

    @property
    def cuts(self) -> bool:
        """Whether there is a limit to keep."""
        return self.limit is not None and self.truncation != "do_not_truncate"


class Defaults(Protocol):
    """What a tokenizer says where a call does not."""

    model_max_length: int
    padding_side: str
    truncation_side: str


def batch_options(
    defaults: Defaults,
    *,
    special: bool,
    padding: Any,
    truncation: Any = False,
    max_length: int | None = None,
    stride: int = 0,
    overflow: bool = False,
    multiple: int | None = None,
    side: str | None = None,
    outputs: Mapping[str, bool | None] | None = None,
    tensors: Any = None,
) -> BatchOptions:
    """Checks the arguments that shape a batch.

    Args:
        defaults: the tokenizer.
        special: ``add_special_tokens`` of a call.
        padding: as in a call.
        truncation: as in a call.
        max_length: as in a call.
        stride: as in a call.
        overflow: ``return_overflowing_tokens`` of a call.
        multiple: ``pad_to_multiple_of`` of a call.
        side: ``padding_side`` of a call.
        outputs: the arguments ``return_*``, by the output's name.
        tensors: ``return_tensors`` of a call.

    Raises:
        ValueError: an unknown strategy, side or kind of tensors, a negative number, truncation without any limit.
        TypeError: a number is no integer.
    """
    kind, strategy = choice("padding", padding, PADDING), choice("truncation", truncation, TRUNCATION)
    side = defaults.padding_side if side is None else check_side("padding_side", side)
    for name, number, least in (("max_length", max_length, 0), ("pad_to_multiple_of", multiple, 1)):
        if number is not None:
            check_count(name, number, least)
    check_count("stride", stride, 0)
    if truncation is None and max_length is not None and kind == "do_not_pad":
        warnings.warn("max_length was given without truncation; truncation=True is assumed", stacklevel=3)
        strategy = "longest_first"
    own_limit = None if defaults.model_max_length >= NO_LIMIT else defaults.model_max_length
    limit = own_limit if max_length is None else max_length
    if strategy != "do_not_truncate" and limit is None:
        raise ValueError(
            f"truncation={truncation!r} has no limit to keep: this tokenizer's model_max_length is unlimited; "
            "give max_length, or set model_max_length to the model's max_position_embeddings"
        )
    return BatchOptions(
        special, kind, strategy, limit, stride, overflow, defaults.truncation_side, side, multiple, outputs or {},
        check_tensor_type(tensors),
    )  # fmt: skip


def choice(name: str, value: Any, known: dict[Any, str]) -> str:
    """The canonical form of an argument with few values.

    Raises:
        ValueError: the value is not among ``known``.
    """
    value = getattr(value, "value", value) if isinstance(value, str) else value  # an enumeration of another library
    if isinstance(value, (str, bool)) or value is None:
        found = known.get(value)
        if found is not None:
            return found
    raise ValueError(f"{name}={value!r} is unknown; use one of {', '.join(map(repr, known))}")


def check_tensor_type(value: Any) -> str | None:
    """Checks the argument ``return_tensors``.

    Raises:
        ValueError: it is none of ``pt``, ``tf``, ``np`` and ``None``.
    """
    if value is None:
        return None
    name = getattr(value, "value", value) if isinstance(value, str) else value
    if name not in TENSOR_TYPES:
        raise ValueError(f"return_tensors={value!r} is unknown; use 'pt', 'tf', 'np' or None")
    return str(name)


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


def check_side(name: str, value: Any) -> str:
    """Checks a side of a feature.

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
    return TypeError(f"{owner} got an unknown keyword {name!r}{near(name, known)}")
