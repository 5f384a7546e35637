"""From texts to tokens: added tokens are cut out, what is left goes through the engine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .arguments import TextOptions
from .engine import Engine, Pieces, Span
from .inputs import Samples
from .vocabulary import Vocabulary


class Part(NamedTuple):
    """A stretch of a text: characters for the engine, or an added token, for which ``text`` is empty."""

    begin: int
    end: int
    text: str
    added: int = -1


class TextTokenizer(Vocabulary):
    """The part of a tokenizer between a string and its tokens; a family fills in the engine and its preparation."""

    @abstractmethod
    def _engine_for(self, options: TextOptions) -> Engine:
        """The engine that serves a call."""

    def _needs_preparation(self, options: TextOptions) -> bool:
        """Whether ``_prepare`` or ``_segments`` may change anything."""
        return False

    def _prepare(self, text: str, options: TextOptions) -> tuple[str, list[Span] | None]:
        """The text as the engine gets it, and the original span of each of its characters where that differs."""
        return text, None

    def _segments(self, text: str, begin: int) -> Iterable[tuple[int, str]]:
        """The stretches of a text that the engine gets one by one, with their places."""
        return [(begin, text)] if text else []

    def _is_plain(self, texts: Sequence[str], options: TextOptions) -> bool:
        return not self._needs_preparation(options) and not self._added.may_occur(texts, which=options.which)

    def _ids(self, texts: list[str], options: TextOptions) -> list[list[int]]:
        engine, threads = self._engine_for(options), options.num_threads
        if self._is_plain(texts, options):
            return engine.encode(texts, num_threads=threads)
        cut = [self._cut(text, options)[0] for text in texts]
        encoded = iter(engine.encode([part.text for parts in cut for part in parts if part.text], num_threads=threads))
        return [[i for part in parts for i in (next(encoded) if part.text else (part.added,))] for parts in cut]

    def _pieces(self, texts: list[str], options: TextOptions, *, words: bool) -> list[Pieces]:
        engine, threads = self._engine_for(options), options.num_threads
        if self._is_plain(texts, options):
            return engine.encode_spans(texts, trim=options.trim, words=words, num_threads=threads)
        cut = [self._cut(text, options) for text in texts]
        stretches = [part.text for parts, _ in cut for part in parts if part.text]
        encoded = iter(engine.encode_spans(stretches, trim=options.trim, words=words, num_threads=threads))
        joined = []
        for parts, origin in cut:
            whole = Pieces([], [], [])
            for part in parts:
                _append(whole, next(encoded) if part.text else self._added_piece(part, options.trim), part.begin)
            if origin is not None:
                whole.spans = [_original(span, origin) for span in whole.spans]
            joined.append(whole)
        return joined

    def _added_piece(self, part: Part, trim: bool) -> Pieces:
        length = part.end - part.begin
        swallowed = length - len(self._added.by_id[part.added].content) if trim else 0
        return Pieces([part.added], [(swallowed, length)], [0])

    def _cut(self, text: str, options: TextOptions) -> tuple[list[Part], list[Span] | None]:
        prepared, origin = self._prepare(text, options)
        parts: list[Part] = []
        at = 0
        for match in self._added.find(prepared, which=options.which):
            parts += self._parts(prepared, at, match.begin)
            parts.append(Part(match.begin, match.end, "", match.token_id))
            at = match.next
        return parts + self._parts(prepared, at, len(prepared)), origin

    def _parts(self, text: str, begin: int, end: int) -> list[Part]:
        return [Part(place, place + len(part), part) for place, part in self._segments(text[begin:end], begin)]

    def _encode_ids(
        self, samples: Samples, options: TextOptions
    ) -> tuple[list[list[int]], list[list[int] | None] | None]:
        return samples.unflatten(self._ids(samples.flat(), options), lambda words: [i for word in words for i in word])

    def _encode_pieces(
        self, samples: Samples, options: TextOptions, *, words: bool
    ) -> tuple[list[Pieces], list[Pieces | None] | None]:
        return samples.unflatten(self._pieces(samples.flat(), options, words=words), _joined_words)


def _joined_words(words: list[Pieces]) -> Pieces:
    whole = Pieces([], [], [])
    for number, word in enumerate(words):
        whole.ids += word.ids
        whole.spans += word.spans
        whole.words += [number] * len(word.ids)
    return whole


def _append(whole: Pieces, part: Pieces, begin: int) -> None:
    """Adds the pieces of a stretch that begins at a place; it begins a word of its own."""
    first_word = whole.words[-1] + 1 if whole.words else 0
    whole.ids += part.ids
    whole.spans += [(begin + start, begin + end) for start, end in part.spans] if begin else part.spans
    whole.words += [first_word + word for word in part.words] if first_word else part.words


def _original(span: Span, origin: list[Span]) -> Span:
    start, end = span
    if start < end:
        return origin[start][0], origin[end - 1][1]
    place = origin[start][0] if start < len(origin) else origin[-1][1]
    return place, place
