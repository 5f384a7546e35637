"""Tokens that are cut out of a text before the vocabulary sees it: the special ones and those a user adds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple


@dataclass(frozen=True)
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

    def to_dict(self) -> dict[str, Any]:
        """The fields as the JSON files spell them."""
        return asdict(self)

    @classmethod
    def of(cls, value: Any, *, special: bool | None = None) -> AddedToken:
        """An ``AddedToken`` from a string, a dictionary of a JSON file, or a look-alike of another library.

        Raises:
            TypeError: ``value`` is none of these.
            ValueError: the content is empty.
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
        floor = 0
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
                floor = len(text) - len(text[end:].lstrip())
            yield Match(begin, end, floor, token_id)

    def marked(self, texts: Sequence[str], *, which: str = "all") -> set[int]:
        """Numbers of the texts that hold an added token.

        Args:
            texts: the texts.
            which: as in ``find``.
        """
        searcher = self._searcher(which)
        if searcher is None:
            return set()
        firsts, pattern = searcher
        if len(firsts) == 1:  # a search for one character costs next to nothing
            return {number for number, text in enumerate(texts) if firsts in text and pattern.search(text)}
        return {number for number, text in enumerate(texts) if pattern.search(text)}

    def _searcher(self, which: str) -> tuple[str, re.Pattern[str]] | None:
        if which not in self._searchers:
            chosen = [t for t in self.by_id.values() if which == "all" or t.special == (which == "special")]
            words = sorted({token.content for token in chosen}, key=lambda word: (-len(word), word))
            firsts = "".join(sorted({word[0] for word in words}))
            pattern = re.compile("|".join(map(re.escape, words)))
            self._searchers[which] = (firsts, pattern) if words else None
        return self._searchers[which]


def _inside_word(text: str, begin: int, end: int) -> bool:
    before, after = text[max(begin - 1, 0) : begin], text[end : end + 1]
    return bool(re.match(r"\w", before) or re.match(r"\w", after))
