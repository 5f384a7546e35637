"""Tokens that are cut out of a text before the engine sees it: special ones, a user's, and the reading around them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from .arguments import TextOptions
from .engine import Encoding, Engine, Segmenter, Span, joined_words, original_span
from .inputs import Examples, Texts, words_with_spaces

T = TypeVar("T")
_WHITE = re.compile(r"\s+")
LONGEST = 1024  # characters of an added token; to search for one, the tokenizers library takes time with its square


@dataclass(frozen=True, eq=False)
class AddedToken:
    """One token that is recognised in a text as a whole.

    Args:
        content: the token's text, not empty.
        single_word: match only where no letter, digit or underscore touches it.
        lstrip: swallow the white space to its left.
        rstrip: swallow the white space to its right.
        normalized: lower-cased with the text where the tokenizer lower-cases (special tokens never are).
        special: dropped by ``decode(skip_special_tokens=True)``, kept out of lower-casing.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False

    def __str__(self) -> str:
        return self.content

    def __eq__(self, other: object) -> bool:
        """Whether all fields are the same, of the library's own kind of token, too."""
        unlike = object()
        return all(getattr(other, name, unlike) == getattr(self, name) for name in self.__dataclass_fields__)

    def __hash__(self) -> int:
        return hash(self.content)

    def to_dict(self) -> dict[str, Any]:
        """The fields as the JSON files spell them."""
        return asdict(self)

    @classmethod
    def of(cls, value: Any, *, special: bool | None = None) -> AddedToken:
        """An ``AddedToken`` from a string, a dictionary of a JSON file, or a look-alike of another library.

        Raises:
            TypeError: ``value`` is none of these.
            ValueError: the content is empty, or too long for a token.
        """
        if isinstance(value, str):
            token = cls(value, normalized=not special)
        elif isinstance(value, dict) and isinstance(value.get("content"), str):
            token = cls(**{key: value[key] for key in cls.__dataclass_fields__ if key in value})
        elif isinstance(getattr(value, "content", None), str):
            token = cls(**{key: getattr(value, key) for key in cls.__dataclass_fields__ if hasattr(value, key)})
        else:
            raise TypeError(f"a token is a string, an AddedToken or a dictionary with 'content', not {value!r}")
        if not token.content:
            raise ValueError("an added token has no content; give it at least one character")
        if len(token.content) > LONGEST:
            start, count = token.content[:40], len(token.content)
            raise ValueError(f"the added token {start!r}... has {count} characters, expected at most {LONGEST}")
        for flag in ("single_word", "lstrip", "rstrip", "normalized", "special"):
            if not isinstance(getattr(token, flag), bool):
                raise TypeError(f"{flag} of the token {token.content!r} is {getattr(token, flag)!r}, expected a bool")
        return token if special is None else replace(token, special=special)


def union(of_file: Mapping[int, Any] | None, of_settings: Mapping[Any, Any] | None) -> dict[int, Any]:
    """Added tokens by id, as a tokenizer.json and the settings beside it list them; the settings overrule the file."""
    settings = {int(token_id): token for token_id, token in (of_settings or {}).items()}
    return {**(of_file or {}), **settings}


class Match(NamedTuple):
    """One added token found in a text; ``begin`` includes the white space it swallows to its left."""

    begin: int
    end: int
    next: int
    token_id: int


class Stretch(NamedTuple):
    """A part of a text: characters for the engine, or an added token, for which ``text`` is empty."""

    begin: int
    end: int
    text: str
    added: int = -1


class AddedVocabulary:
    """The added tokens of a tokenizer, with their ids, and the search for them. ``version`` grows with each change."""

    def __init__(self) -> None:
        self.by_id: dict[int, AddedToken] = {}
        self.ids: dict[str, int] = {}
        self.version = 0
        self._searchers: dict[str, tuple[str, re.Pattern[str]] | None] = {}

    def put(self, token: AddedToken, token_id: int) -> None:
        """Adds or replaces a token under its id."""
        before = self.by_id.get(token_id)
        if before is not None and before.content != token.content:
            self.ids.pop(before.content, None)
        self.by_id[token_id] = token
        self.ids[token.content] = token_id
        self.version += 1
        self._searchers = {}

    def find(self, text: str, *, which: str = "all") -> Iterator[Match]:
        """The tokens in a text: leftmost first, the longest where several begin.

        Args:
            text: the text to search.
            which: ``all``, ``special``, ``plain`` (those that are not special).
        """
        searcher = self._searcher(which)
        if searcher is None or not any(char in text for char in searcher[0]):
            return
        floor = 0  # white space that the token before has swallowed is not there for the next one
        for match in searcher[1].finditer(text):
            begin, end = match.span()
            token_id = self.ids[match.group()]
            token = self.by_id[token_id]
            if token.single_word and _inside_word(text, begin, end):
                continue
            if token.lstrip:
                begin = floor + len(text[floor:begin].rstrip())
            floor = end
            if token.rstrip:
                white = _WHITE.match(text, end)
                floor = white.end() if white else end
            yield Match(begin, end, floor, token_id)

    def marked(self, texts: Sequence[str], *, which: str = "all") -> set[int]:
        """Numbers of the texts that hold an added token.

        Args:
            texts: the texts.
            which: as in ``find``.
        """
        searcher = self._searchers.get(which) or self._searcher(which)
        if searcher is None:
            return set()
        firsts, pattern = searcher
        if len(firsts) == 1:  # a search for one character costs next to nothing
            return {number for number, text in enumerate(texts) if firsts in text and pattern.search(text)}
        return {number for number, text in enumerate(texts) if pattern.search(text)}

    def _searcher(self, which: str) -> tuple[str, re.Pattern[str]] | None:
        if which not in self._searchers:
            chosen = [t for t in self.by_id.values() if which == "all" or t.special == (which == "special")]
            # The longest first: an alternation takes the first of its words that fits, and not the longest.
            words = sorted({token.content for token in chosen}, key=lambda word: (-len(word), word))
            firsts = "".join(sorted({word[0] for word in words}))
            pattern = re.compile("|".join(map(re.escape, words)))
            self._searchers[which] = (firsts, pattern) if words else None
        return self._searchers[which]


@dataclass(frozen=True, slots=True)
class TextReader:
    """From the texts of a call to tokens: added tokens are cut out, what is left goes through the engine.

    Args:
        engine: has the vocabulary and its rules.
        added: the added tokens.
        options: how texts are read.
    """

    engine: Engine
    added: AddedVocabulary
    options: TextOptions

    def ids(self, examples: Examples) -> Texts[list[int]]:
        """The ids of each text."""

        def join(parts: list[tuple[Stretch, list[int] | None]]) -> list[int]:
            return [i for stretch, ids in parts for i in ((stretch.added,) if ids is None else ids)]

        threads = self.options.num_threads
        return self._read(examples, lambda one: partial(one.encode, num_threads=threads), join, _flattened)

    def tokens(self, examples: Examples) -> Texts[list[str]]:
        """The tokens of each text as strings."""
        added = self.added.by_id

        def join(parts: list[tuple[Stretch, list[str] | None]]) -> list[str]:
            return _flattened([[added[one.added].content] if tokens is None else tokens for one, tokens in parts])

        return self._read(examples, lambda one: lambda texts: list(map(one.tokenize, texts)), join, _flattened)

    def encodings(self, examples: Examples, *, words: bool) -> Texts[Encoding]:
        """Each text with spans, and words where asked for."""
        options = self.options

        def join(parts: list[tuple[Stretch, Encoding | None]]) -> Encoding:
            whole = Encoding()
            for stretch, encoding in parts:
                if encoding is None:
                    length, content = stretch.end - stretch.begin, self.added.by_id[stretch.added].content
                    swallowed = length - len(content) if options.trim else 0
                    encoding = Encoding([stretch.added], [(swallowed, length)], [0])
                whole.append(encoding, stretch.begin)
            return whole

        def how(segmenter: Segmenter) -> Callable[[list[str]], list[Encoding]]:
            return partial(segmenter.encode_spans, trim=options.trim, words=words, num_threads=options.num_threads)

        def place(encoding: Encoding, origin: Sequence[Span]) -> Encoding:
            return replace(encoding, spans=[original_span(span, origin) for span in encoding.spans])

        return self._read(examples, how, join, joined_words, place)

    def _read(
        self,
        examples: Examples,
        how: Callable[[Segmenter], Callable[[list[str]], list[T]]],
        join: Callable[[list[tuple[Stretch, T | None]]], T],
        join_words: Callable[[list[T]], T],
        place: Callable[[T, Sequence[Span]], T] | None = None,
    ) -> Texts[T]:
        """What is made of each text.

        Args:
            examples: the texts.
            how: what a segmenter makes of texts without added tokens.
            join: makes one result of the stretches of a text with theirs, which added tokens have none of.
            join_words: makes one result of a text's words.
            place: moves a result from a prepared text to the text as it was, of which each character of the prepared
                one has a span.
        """
        if examples.seconds is None and not examples.split:
            return self._around(examples.firsts, how, join, place), None
        if not examples.split or self.options.separator:
            return examples.unflatten(self._around(examples.flat(), how, join, place), join_words)
        spacing, first = self.engine.segmenter(self.options, self.added).spacing, self.options.prefix
        words = [word for side in examples.sides() for word in words_with_spaces(side, first, spacing)]
        made: dict[bool, Iterator[T]] = {}
        for prefix in (True, False):
            reader = replace(self, options=replace(self.options, prefix=prefix))
            made[prefix] = iter(reader._around([word for word, space in words if space == prefix], how, join, place))
        return examples.unflatten([next(made[space]) for _, space in words], join_words)

    def _around(
        self,
        texts: list[str],
        how: Callable[[Segmenter], Callable[[list[str]], list[T]]],
        join: Callable[[list[tuple[Stretch, T | None]]], T],
        place: Callable[[T, Sequence[Span]], T] | None,
    ) -> list[T]:
        """The same for texts alone. Most hold no added token and go to the engine as they are."""
        engine, options = self.engine, self.options
        encode = how(engine.segmenter(options, self.added))
        origins: list[list[Span] | None] = []
        if engine.prepares(options):
            prepared = [engine.prepare(text, options, self._special(text)) for text in texts]
            texts, origins = [text for text, _ in prepared], [origin for _, origin in prepared]
        if options.cut_punctuation and not engine.finds_added:
            chosen = set(range(len(texts)))
        else:
            chosen = set() if engine.finds_added else self.added.marked(texts, which=options.which)
        if chosen:
            cuts = [self._stretches(text) if i in chosen else None for i, text in enumerate(texts)]
            plain: list[str] = []
            for text, cut in zip(texts, cuts, strict=True):
                plain += [text] if cut is None else [stretch.text for stretch in cut if stretch.text]
            results = iter(encode(plain))  # all in one call
            made = [
                next(results) if cut is None else join([(one, next(results) if one.text else None) for one in cut])
                for cut in cuts
            ]
        else:
            made = encode(texts)
        if place is not None and origins:
            pairs = zip(made, origins, strict=True)
            return [one if origin is None else place(one, origin) for one, origin in pairs]
        return made

    def _special(self, text: str) -> list[Span]:
        """The places of special tokens, where a text is to be lower-cased but for them."""
        if not self.options.lower_case or self.options.which != "all" or self.engine.finds_added:
            return []
        matches, added = self.added.find(text, which="special"), self.added.by_id
        return [(match.end - len(added[match.token_id].content), match.end) for match in matches]

    def _stretches(self, text: str) -> list[Stretch]:
        """A text cut up at added tokens, and further as the engine wants it."""
        found: list[Stretch] = []

        def between(begin: int, end: int) -> list[Stretch]:
            parts = self.engine.stretches(text[begin:end], self.options)
            return [Stretch(begin + place, begin + place + len(part), part) for place, part in parts]

        at = 0
        for match in self.added.find(text, which=self.options.which):
            found += between(at, match.begin)
            found.append(Stretch(match.begin, match.end, "", match.token_id))
            at = match.next
        return found + between(at, len(text))


def _flattened(words: list[list[T]]) -> list[T]:
    return [token for word in words for token in word]


def _inside_word(text: str, begin: int, end: int) -> bool:
    before, after = text[max(begin - 1, 0) : begin], text[end : end + 1]
    return bool(re.match(r"\w", before) or re.match(r"\w", after))
