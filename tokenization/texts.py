"""From texts to tokens: added tokens are cut out, what is left goes through the engine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

from .arguments import TextOptions
from .engine import Engine, Pieces, Span, original_span
from .inputs import Samples, words_with_spaces
from .vocabulary import Vocabulary

T = TypeVar("T")


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

    def _to_cut(self, texts: Sequence[str], options: TextOptions) -> set[int]:
        """Numbers of the texts that do not go to the engine as they are."""
        if self._needs_preparation(options):
            return set(range(len(texts)))
        return self._added.marked(texts, which=options.which)

    def _ids(self, texts: list[str], options: TextOptions) -> list[list[int]]:
        engine, threads = self._engine_for(options), options.num_threads

        def encode(stretches: list[str]) -> list[list[int]]:
            return engine.encode(stretches, num_threads=threads)

        def cut(chosen: list[str]) -> list[list[int]]:
            parts_of = [self._cut(text, options)[0] for text in chosen]
            encoded = iter(encode([part.text for parts in parts_of for part in parts if part.text]))
            return [
                [i for part in parts for i in (next(encoded) if part.text else (part.added,))] for parts in parts_of
            ]

        return _sorted_out(texts, self._to_cut(texts, options), encode, cut)

    def _pieces(self, texts: list[str], options: TextOptions, *, words: bool) -> list[Pieces]:
        engine, threads = self._engine_for(options), options.num_threads

        def encode(stretches: list[str]) -> list[Pieces]:
            return engine.encode_spans(stretches, trim=options.trim, words=words, num_threads=threads)

        def cut(chosen: list[str]) -> list[Pieces]:
            parts_of = [self._cut(text, options) for text in chosen]
            encoded = iter(encode([part.text for parts, _ in parts_of for part in parts if part.text]))
            return [self._joined(parts, origin, encoded, options.trim) for parts, origin in parts_of]

        return _sorted_out(texts, self._to_cut(texts, options), encode, cut)

    def _joined(self, parts: list[Part], origin: list[Span] | None, encoded: Iterator[Pieces], trim: bool) -> Pieces:
        whole = Pieces([], [], [])
        for part in parts:
            _append(whole, next(encoded) if part.text else self._added_piece(part, trim), part.begin)
        if origin is not None:
            whole.spans = [original_span(span, origin) for span in whole.spans]
        return whole

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
        encoded = self._encoded(samples, options, self._ids)
        return samples.unflatten(encoded, lambda words: [i for word in words for i in word])

    def _encode_pieces(
        self, samples: Samples, options: TextOptions, *, words: bool
    ) -> tuple[list[Pieces], list[Pieces | None] | None]:
        encoded = self._encoded(samples, options, partial(self._pieces, words=words))
        return samples.unflatten(encoded, _joined_words)

    def _encoded(
        self, samples: Samples, options: TextOptions, encode: Callable[[list[str], TextOptions], list[T]]
    ) -> list[T]:
        """What ``encode`` makes of each text or word, in the order of ``samples.flat()``."""
        if not samples.split or options.separator:
            return encode(samples.flat(), options)
        spacing = self._engine_for(options).spacing
        spaced = [word for words in samples.sides() for word in words_with_spaces(words, options.prefix, spacing)]
        return _sorted_out(
            [word for word, _ in spaced],
            {number for number, (_, space) in enumerate(spaced) if space},
            lambda words: encode(words, replace(options, prefix=False)),
            lambda words: encode(words, replace(options, prefix=True)),
        )


def _sorted_out(
    texts: list[str], chosen: set[int], encode: Callable[[list[str]], list[T]], cut: Callable[[list[str]], list[T]]
) -> list[T]:
    """One function's results for most texts and another's for the chosen ones, in the order of the texts."""
    if not chosen:
        return encode(texts)
    rest = iter(encode([text for number, text in enumerate(texts) if number not in chosen]))
    special = iter(cut([text for number, text in enumerate(texts) if number in chosen]))
    return [next(special) if number in chosen else next(rest) for number in range(len(texts))]


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
