"""What the two families' engines have in common: text without added tokens in, pieces out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

Span = tuple[int, int]
SHORT = 2048  # characters

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

    def spacing(self, char: str) -> str | None:
        """What is left of a character between letters: "" or a space, or ``None`` for anything else."""

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


class _SpansTo(dict[int, Span]):
    """The spans that end at one place, by their width; each is made when it is first asked for."""

    def __init__(self, end: int) -> None:
        super().__init__()
        self.end = end

    def __missing__(self, width: int) -> Span:
        span = self[width] = (self.end - width, self.end)
        return span


@lru_cache(maxsize=1)
def _known_spans() -> list[_SpansTo]:
    return [_SpansTo(end) for end in range(SHORT)]


def make_spans(ends: Iterable[int], widths: Iterable[int], length: int) -> list[Span]:
    """Spans from their ends.

    Those of short texts are the same few objects in every call: fresh ones would make the garbage collector walk the
    program again and again.

    Args:
        ends: past-the-last character of each span.
        widths: characters of each.
        length: characters of the text.
    """
    placed = zip(ends, widths, strict=True)
    if length < SHORT:
        known = _known_spans()
        return [known[end][width] for end, width in placed]
    return [(end - width, end) for end, width in placed]


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


def spaced_span(text: str, begin: int, start: int, end: int, trim: bool) -> Span:
    """A span with the white space directly before it, or without any at its start.

    Args:
        text: the text.
        begin: how far to the left the white space may reach.
        start: first character of the span.
        end: past-the-last character.
        trim: leave white space out.
    """
    if trim:
        while start < end and text[start].isspace():
            start += 1
    else:
        while start > begin and text[start - 1].isspace():
            start -= 1
    return start, end


def original_span(span: Span, origin: Sequence[Span]) -> Span:
    """A span of a text that was changed, in the text as it was.

    Args:
        span: characters of the changed text.
        origin: where each character of it comes from.
    """
    start, end = span
    if start < end:
        return origin[start][0], origin[end - 1][1]
    place = origin[start][0] if start < len(origin) else origin[-1][1] if origin else 0
    return place, place
