"""Turns of phrase that messages have in common."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from itertools import islice

LONGEST_NAME = 200  # characters; what is longer is no misspelt name


def near(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` when a known name is spelt nearly like ``name``, else an empty string."""
    if len(name) > LONGEST_NAME:  # to compare takes time with the product of two lengths
        return ""
    found = difflib.get_close_matches(name, [one for one in known if len(one) <= LONGEST_NAME], n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def some(items: Collection[object], most: int = 6) -> str:
    """The first items, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, islice(items, most))) + more


def listed(names: Iterable[object]) -> str:
    """Names that come from a file, such as columns; ``nothing`` where there are none."""
    return one_line(", ".join(map(str, names))) or "nothing"


# Control characters but tabs and line ends, marks that turn the direction of writing, halves of characters.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """A text that comes from a file, for a terminal: what would act on it is shown by its number, as JSON does."""
    return _HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """The same, for a cell: line ends and tabs, too, are shown, as Python writes them."""
    return harmless(text).replace("\n", "\\n").replace("\t", "\\t")


def code_span(text: str) -> str:
    """A text as code in a cell of a Markdown table, whatever is in it."""
    shown = one_line(text).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " if "`" in shown or not shown.strip() else ""
    return f"{fence}{space}{shown}{space}{fence}"
