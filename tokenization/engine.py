"""What the two families' engines have in common: text without added tokens in, pieces out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

Span = tuple[int, int]
SHORT = 128  # characters

# White space as str.isspace has it, which knows four separators that \s in `re` knows too.
WHITE_PAIR = re.compile(r"\s\s")


@dataclass(slots=True)
class Pieces:
    """One text as tokens.

    Args:
        ids: token ids.
        spans: first and past-the-last character of each token in the text.
        words: number of the word each token belongs to, from 0, never falling; empty where nobody asked.
    """

    ids: list[int]
    spans: list[Span]
    words: list[int]


class Engine(Protocol):
    """Turns plain text into ids. Calls change nothing, so any number of threads may share one engine.

    ``random`` is true where two calls with one text may differ.
    """

    random: bool

    def encode(self, texts: Sequence[str], *, num_threads: int) -> list[list[int]]:
        """Ids of each text."""

    def encode_spans(self, texts: Sequence[str], *, trim: bool, words: bool, num_threads: int) -> list[Pieces]:
        """Ids and spans of each text, and its words where asked for.

        ``trim`` leaves out the white space at the start of a span.
        """

    def tokenize(self, text: str) -> list[str]:
        """The tokens as strings; a piece outside the vocabulary shows as the text it stands for."""


def surrogate_error(texts: Sequence[str]) -> ValueError | None:
    """The error for the first text that holds a lone surrogate, which no tokenizer can write as UTF-8."""
    for number, text in enumerate(texts):
        for position, char in enumerate(text):
            if 0xD800 <= ord(char) <= 0xDFFF:
                return ValueError(
                    f"text {number} holds a lone surrogate {char!r} at character {position}, which is no character "
                    "and has no UTF-8 form; clean the text first, for instance with "
                    "text.encode('utf-8', 'replace').decode('utf-8')"
                )
    return None


@lru_cache(maxsize=1)
def _short_spans() -> list[list[Span]]:
    return [[(start, end) for end in range(SHORT)] for start in range(SHORT)]


def pair_spans(starts: Iterable[int], ends: Iterable[int], length: int) -> list[Span]:
    """Spans from their starts and ends.

    Spans of short texts are taken from a table: fresh ones would make the garbage collector walk the whole program
    again and again, which costs more than tokenizing.

    Args:
        starts: first character of each span.
        ends: past-the-last character of each.
        length: characters of the text.
    """
    if length < SHORT:
        table = _short_spans()
        return [table[start][end] for start, end in zip(starts, ends, strict=True)]
    return list(zip(starts, ends, strict=True))


def trim_spans(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans without the white space at their start."""
    once = [(start + 1, end) if start < end and text[start].isspace() else (start, end) for start, end in spans]
    if not WHITE_PAIR.search(text):
        return once  # no span can begin with more than the one just left out
    trimmed = []
    for start, end in once:
        while start < end and text[start].isspace():
            start += 1
        trimmed.append((start, end))
    return trimmed
