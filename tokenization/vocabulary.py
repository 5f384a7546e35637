"""Tokens and ids: the engine's, the added ones, and the special ones by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .added_tokens import AddedToken, AddedVocabulary
from .byte_bpe import ByteBpe
from .engine import Engine

SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class Vocabulary:
    """The vocabulary of a tokenizer.

    Args:
        engine: has the tokens themselves.
        special_tokens: tokens by their names of ``SPECIAL_NAMES``, ``None`` for one that the tokenizer lacks.
        additional: further special tokens.
        extra: further special tokens, as a list, or as a dictionary by names of their own.
        saved: tokens by id, as a saved tokenizer lists them.
        mask_swallows: a mask token given as a string swallows the white space to its left in a text.

    Raises:
        ValueError: an added token claims an id that the vocabulary gives to another token.
    """

    def __init__(
        self,
        engine: Engine,
        special_tokens: Mapping[str, Any],
        additional: Iterable[Any] | None,
        extra: Iterable[Any] | Mapping[str, Any] | None,
        saved: Mapping[Any, Any] | None,
        *,
        mask_swallows: bool,
    ) -> None:
        self.engine, self.mask_swallows = engine, mask_swallows
        self.rows = 0  # of the model's word table, where it is known
        self.added = AddedVocabulary()
        self.named: dict[str, str | None] = dict.fromkeys(SPECIAL_NAMES)
        self.additional: list[str] = []
        self.extra: dict[str, str] = {}
        # Saved tokens come with their ids. All others are looked for among them first, and get ids behind the last.
        for key, value in sorted((saved or {}).items(), key=lambda item: int(item[0])):
            self._put_saved(AddedToken.of(value), int(key))
        for name in SPECIAL_NAMES:
            self.name(name, special_tokens.get(name))
        by_name = extra if isinstance(extra, Mapping) else {}
        for values in (additional, None if by_name else extra):
            self.set_additional(values or (), after=self.additional)
        for name, value in by_name.items():
            self.extra[name] = self.add_special(value).content

    def _put_saved(self, token: AddedToken, token_id: int) -> None:
        tokens = self.engine.tokens
        if 0 <= token_id < len(tokens):
            if tokens[token_id] != token.content:
                raise ValueError(
                    f"the added token {token.content!r} claims id {token_id}, which is {tokens[token_id]!r} "
                    "in the vocabulary: the settings belong to another vocabulary; take all files from the same folder"
                )
        elif token_id < 0:
            raise ValueError(f"the added token {token.content!r} has id {token_id}; ids begin at 0")
        self.added.put(token, token_id)

    @property
    def next_id(self) -> int:
        """The id that the next added token gets."""
        return max(len(self.engine.tokens), max(self.added.by_id, default=-1) + 1)

    def __len__(self) -> int:
        size = len(self.engine.tokens)
        return size + sum(token_id >= size for token_id in self.added.by_id)

    def id_of(self, token: str) -> int | None:
        """The id of a token, ``None`` where it has none."""
        token_id = self.added.ids.get(token)
        return self.engine.vocab.get(token) if token_id is None else token_id

    def token_of(self, token_id: int) -> str:
        """The token of an id.

        Raises:
            ValueError: no token has it.
        """
        added = self.added.by_id.get(token_id)
        if added is not None:
            return added.content
        if 0 <= token_id < len(self.engine.tokens):
            return self.engine.tokens[token_id]
        unknown = self.named["unk_token"]
        if 0 <= token_id < self.rows and unknown is not None:  # a model may predict rows that stand for no token
            return unknown
        raise ValueError(
            f"token id {token_id} is out of range: ids go from 0 to {self.next_id - 1}; padding of labels such as "
            "-100 must be replaced before decoding, and rows of an embedding beyond the vocabulary stand for no token"
        )

    @property
    def unk_id(self) -> int | None:
        """The id that stands for what no token is; ``None`` where nothing does."""
        named = self.named["unk_token"]
        if self.engine.follows_file and named is not None:
            return self.id_of(named)
        return self.engine.unk_id

    def add(self, token: AddedToken) -> bool:
        """Adds a token, or gives a known one its flags.

        Returns:
            Whether it is new.
        """
        known = self.id_of(token.content)
        self.added.put(token, self.next_id if known is None else known)
        return known is None

    def add_special(self, value: Any, name: str = "") -> AddedToken:
        """Adds a special token; one given as a string has the flags that were saved, or those of published ones."""
        if isinstance(value, str):
            saved = self.added.by_id.get(self.added.ids.get(value, -1))
            swallows = self.mask_swallows and name == "mask_token"
            published = AddedToken(value, lstrip=swallows, normalized=swallows, special=True)
            token = published if saved is None else replace(saved, special=True)
        else:
            token = AddedToken.of(value, special=True)
        self.add(token)
        return token

    def name(self, name: str, value: Any) -> None:
        """Makes a token the special one of a name, ``None`` for none."""
        self.named[name] = None if value is None else self.add_special(value, name).content
        if name == "unk_token" and isinstance(self.engine, ByteBpe):  # whose files do not say what is unknown
            self.engine.set_unknown(None if value is None else self.id_of(str(self.named[name])))

    def set_additional(self, values: Iterable[Any], *, after: Iterable[str] = ()) -> None:
        """Makes tokens the special ones without a name of their own, behind those that are to stay such.

        Raises:
            TypeError: one token is given instead of several.
        """
        if isinstance(values, (str, AddedToken)):
            raise TypeError(f"special tokens without a name are a list, got {values!r}; give [{values!r}]")
        self.additional = list(dict.fromkeys([*after, *(self.add_special(value).content for value in values)]))

    @property
    def special(self) -> list[str]:
        """Every special token once."""
        named = [token for token in self.named.values() if token is not None]
        return list(dict.fromkeys([*named, *self.extra.values(), *self.additional]))

    @property
    def special_map(self) -> dict[str, Any]:
        """Special tokens by name."""
        named: dict[str, Any] = {name: token for name, token in self.named.items() if token is not None}
        return {**named, **self.extra, **({"additional_special_tokens": self.additional} if self.additional else {})}

    def skipped_ids(self) -> set[int]:
        """The ids that ``skip_special_tokens`` leaves out."""
        if self.engine.follows_file:
            return {token_id for token_id, token in self.added.by_id.items() if token.special}
        return {token_id for token in self.special if (token_id := self.id_of(token)) is not None}

    def user_tokens(self) -> set[str]:
        """Added tokens that are not special, or special ones that the engine's vocabulary lacks and no name has."""
        size = len(self.engine.tokens)
        users = {token for token in self.additional if self.added.ids[token] >= size}
        return set(self.added.ids) - (set(self.special) - users)


def as_integers(ids: Any) -> list[int]:
    """Ids of one text as a list, from a list, an array or a tensor.

    Raises:
        TypeError: the ids have two axes, or something is no integer.
    """
    values: Sequence[Any]
    values = ids.tolist() if hasattr(ids, "tolist") else list(ids.numpy() if hasattr(ids, "numpy") else ids)
    if any(isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) for value in values):
        raise TypeError("these ids have more than one row; use batch_decode for a batch")
    for value in values:
        if isinstance(value, (str, bytes, float, bool)) or not hasattr(value, "__index__"):
            raise TypeError(f"a token id is an integer, not {value!r}; use convert_tokens_to_ids for tokens")
    return [value.__index__() for value in values]
