"""What the engines have in common: texts in, ids out, or encodings that know where each token came from."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from .arguments import TextOptions
from .template import Template

Span = tuple[int, int]
SHORT = 2048  # characters

# White space as str.isspace has it, which knows four separators that \s in `re` knows too.
WHITE_PAIR = re.compile(r"\s\s")


@dataclass(slots=True)
class Encoding:
    """One text as tokens.

    Args:
        ids: token ids.
        spans: first and past-the-last character of each token in the text.
        words: number of the word each token belongs to, from 0, never falling; empty where nobody asked.
    """

    ids: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    words: list[int] = field(default_factory=list)

    def append(self, other: Encoding, begin: int) -> None:
        """Adds the tokens of a stretch that begins at a place; it begins a word of its own."""
        first_word = self.words[-1] + 1 if self.words else 0
        self.ids += other.ids
        self.spans += [(begin + start, begin + end) for start, end in other.spans] if begin else other.spans
        self.words += [first_word + word for word in other.words] if first_word else other.words


def joined_words(words: Sequence[Encoding]) -> Encoding:
    """The tokens of a text that came as words; spans are places in the word."""
    whole = Encoding()
    for number, word in enumerate(words):
        whole.ids += word.ids
        whole.spans += word.spans
        whole.words += [number] * len(word.ids)
    return whole


class Segmenter(Protocol):
    """Cuts texts into tokens. Calls change nothing, so any number of threads may share one.

    Attributes:
        random: two calls with one text may differ.
    """

    random: bool

    def encode(self, texts: Sequence[str], *, num_threads: int = 1) -> list[list[int]]:
        """Ids of each text."""

    def encode_spans(self, texts: Sequence[str], *, trim: bool, words: bool, num_threads: int = 1) -> list[Encoding]:
        """Each text with spans, and words where asked for; ``trim`` leaves out the white space at their start."""

    def tokenize(self, text: str) -> list[str]:
        """The tokens as strings; a piece outside the vocabulary shows as the text it stands for."""

    def spacing(self, char: str) -> str | None:
        """What is left of a character between letters: "" or a space, or ``None`` for anything else."""


class AddedTokens(Protocol):
    """What a tokenizer has beside an engine's vocabulary; ``version`` grows with each change."""

    by_id: dict[int, Any]
    version: int


class Engine(Protocol):
    """A vocabulary with its rules: what makes a tokenizer one of v1, of v2 and v3, or of a file of its own.

    Attributes:
        vocab: id of each token.
        tokens: the tokens in the order of their ids.
        unk_id: id of what the vocabulary lacks, if it has one.
        template: where special tokens stand; ``None`` for where the published tokenizers have them.
        finds_added: its segmenters find added tokens themselves, and get whole texts.
        follows_file: its rules are those of a tokenizer.json, which stand in no other file.
        spaces_added: text has spaces around tokens that a user added.
    """

    @property
    def vocab(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def tokens(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def unk_id(self) -> int | None: ...  # noqa: D102
    @property
    def template(self) -> Template | None: ...  # noqa: D102
    @property
    def finds_added(self) -> bool: ...  # noqa: D102
    @property
    def follows_file(self) -> bool: ...  # noqa: D102
    @property
    def spaces_added(self) -> bool: ...  # noqa: D102
    def segmenter(self, options: TextOptions, added: AddedTokens) -> Segmenter:
        """What serves a call."""

    def prepares(self, options: TextOptions) -> bool:
        """Whether ``prepare`` may change a text."""

    def prepare(self, text: str, options: TextOptions, special: Sequence[Span]) -> tuple[str, list[Span] | None]:
        """The text as it is searched and encoded, and where each of its characters comes from if that differs.

        ``special`` are the places of special tokens, which stay as they are.
        """

    def stretches(self, text: str, options: TextOptions) -> Iterable[tuple[int, str]]:
        """The parts of a text without added tokens that are encoded one by one, with their places."""

    def text_of(self, tokens: Sequence[str], added: Collection[str], special: Collection[str], errors: str) -> str:
        """The text that tokens stand for, some of them added or special.

        ``errors`` is what to do with bytes that are no UTF-8.
        """

    def files(self) -> dict[str, bytes]:
        """The files that hold the vocabulary, by name."""


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


def with_space(text: str) -> tuple[str, list[Span] | None]:
    """A text with a space before it where it does not begin with white space, and where its characters come from."""
    if not text or text[0].isspace():
        return text, None
    return " " + text, [(0, 0), *((i, i + 1) for i in range(len(text)))]


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


def lower_case(text: str, keep: Sequence[tuple[int, int]] = ()) -> str:
    """The text in lower case, each character on its own, but for the stretches in ``keep``.

    ``str.lower`` looks at the neighbours of one character only, the Greek sigma at the end of a word.
    """
    parts, at = [], 0
    for begin, end in keep:
        parts += [_lower(text[at:begin]), text[begin:end]]
        at = end
    return "".join([*parts, _lower(text[at:])])


def _lower(text: str) -> str:
    return text.replace("Σ", "σ").lower()


def lower_case_with_origin(text: str, special: Sequence[Span]) -> tuple[str, list[Span] | None]:
    """A text in lower case but for special tokens, and where its characters come from if that changed."""
    lowered = lower_case(text, special)
    if len(lowered) == len(text):
        return lowered, None
    kept = {i for begin, end in special for i in range(begin, end)}
    return lowered, [(i, i + 1) for i, char in enumerate(text) for _ in (char if i in kept else lower_case(char))]
