"""Turns of phrase that messages have in common."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from itertools import islice


def near(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` when a known name is spelt nearly like ``name``, else an empty string."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def some(items: Collection[object], most: int = 6) -> str:
    """The first items, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, islice(items, most))) + more
