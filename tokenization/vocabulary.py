"""Tokens and ids: the special tokens by name, tokens a user adds, and the way from ids back to text."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

from .added_tokens import AddedToken, AddedVocabulary

SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

# What clean_up_tokenization_spaces closes up: a space before punctuation, and before English contractions.
CLEAN_UP = re.compile(r" (?=[.?!,]|n't|'m|'s|'ve|'re)")


class Vocabulary(ABC):
    """The vocabulary of a tokenizer: the engine's tokens and the added ones.

    Args:
        special_tokens: tokens by their names of ``SPECIAL_NAMES``, ``None`` for one that the tokenizer lacks.
        additional_special_tokens: further special tokens.
        extra_special_tokens: further special tokens, as a list, or as a dictionary whose keys become attributes.
        added_tokens_decoder: tokens by id, as a saved tokenizer lists them.

    Raises:
        ValueError: an added token claims an id that the vocabulary gives to another token.
    """

    def __init__(
        self,
        special_tokens: Mapping[str, Any],
        additional_special_tokens: Iterable[Any] | None = None,
        extra_special_tokens: Iterable[Any] | Mapping[str, Any] | None = None,
        added_tokens_decoder: Mapping[Any, Any] | None = None,
    ) -> None:
        self._added = AddedVocabulary()
        self._special: dict[str, str | None] = dict.fromkeys(SPECIAL_NAMES)
        self._additional: list[str] = []
        self._extra: dict[str, str] = {}
        for key, value in sorted((added_tokens_decoder or {}).items(), key=lambda item: int(item[0])):
            self._put_saved(AddedToken.of(value), int(key))
        for name in SPECIAL_NAMES:
            self._set_special(name, special_tokens.get(name))
        extra = extra_special_tokens or {}
        named = extra if isinstance(extra, Mapping) else {}
        for value in [*(additional_special_tokens or ()), *([] if isinstance(extra, Mapping) else extra)]:
            self._add_additional(value)
        for name, value in named.items():
            self._extra[name] = self._add_special_token(value).content

    @property
    @abstractmethod
    def _base_vocab(self) -> Mapping[str, int]:
        """Id of each token of the engine."""

    @property
    @abstractmethod
    def _base_tokens(self) -> Sequence[str]:
        """Token of each id of the engine."""

    @property
    @abstractmethod
    def _unknown_id(self) -> int:
        """Id of what the engine does not know."""

    @abstractmethod
    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text that tokens stand for."""

    def _special_default(self, name: str, content: str) -> AddedToken:
        """A special token given as a string, with the flags of the published tokenizers."""
        return AddedToken(content, normalized=False, special=True)

    def _put_saved(self, token: AddedToken, token_id: int) -> None:
        if 0 <= token_id < self.vocab_size:
            if self._base_tokens[token_id] != token.content:
                raise ValueError(
                    f"the added token {token.content!r} claims id {token_id}, which is {self._base_tokens[token_id]!r} "
                    "in the vocabulary: the settings belong to another vocabulary; take all files from the same folder"
                )
        elif token_id < 0:
            raise ValueError(f"the added token {token.content!r} has id {token_id}; ids begin at 0")
        self._added.put(token, token_id)

    def _add(self, token: AddedToken) -> bool:
        known = self._id_of(token.content)
        token_id = self._next_id() if known is None else known
        self._added.put(token, token_id)
        return known is None

    def _next_id(self) -> int:
        return max(self.vocab_size, max(self._added.by_id, default=-1) + 1)

    def _id_of(self, token: str) -> int | None:
        token_id = self._added.ids.get(token)
        return self._base_vocab.get(token) if token_id is None else token_id

    def _add_special_token(self, value: Any, name: str = "") -> AddedToken:
        content = value if isinstance(value, str) else AddedToken.of(value).content
        saved = self._added.by_id.get(self._added.ids.get(content, -1))
        if not isinstance(value, str):
            token = AddedToken.of(value, special=True)
        elif saved is not None:
            token = replace(saved, special=True)
        else:
            token = self._special_default(name, content)
        self._add(token)
        return token

    def _set_special(self, name: str, value: Any) -> None:
        self._special[name] = None if value is None else self._add_special_token(value, name).content

    def _add_additional(self, value: Any) -> None:
        content = self._add_special_token(value).content
        if content not in self._additional:
            self._additional.append(content)

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__
        named = {**fields.get("_special", {}), **fields.get("_extra", {})}
        if name in named:
            return named[name]
        if name.endswith("_id") and name[:-3] in named:
            token = named[name[:-3]]
            return None if token is None else self._id_of(token)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in SPECIAL_NAMES:
            self._set_special(name, value)
        elif name.endswith("_id") and name[:-3] in SPECIAL_NAMES:
            self._special[name[:-3]] = None if value is None else self.convert_ids_to_tokens(int(value))
        else:
            super().__setattr__(name, value)

    @property
    def additional_special_tokens(self) -> list[str]:
        """Special tokens without a name of their own."""
        return list(self._additional)

    @additional_special_tokens.setter
    def additional_special_tokens(self, values: Iterable[Any]) -> None:
        self._additional = []
        for value in values:
            self._add_additional(value)

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """Their ids."""
        return self.convert_tokens_to_ids(self._additional)

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """Special tokens by name."""
        named: dict[str, Any] = {name: token for name, token in self._special.items() if token is not None}
        return {**named, **self._extra, **({"additional_special_tokens": self._additional} if self._additional else {})}

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once."""
        named = [token for token in self._special.values() if token is not None]
        return list(dict.fromkeys([*named, *self._extra.values(), *self._additional]))

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of the special tokens."""
        return self.convert_tokens_to_ids(self.all_special_tokens)

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Ids of the added and special tokens."""
        return dict(self._added.ids)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Added and special tokens by id."""
        return dict(sorted(self._added.by_id.items()))

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary itself, without those added to it."""
        return len(self._base_tokens)

    @property
    def vocab(self) -> dict[str, int]:
        """The same as ``get_vocab()``."""
        return self.get_vocab()

    def __len__(self) -> int:
        return self.vocab_size + sum(token_id >= self.vocab_size for token_id in self._added.by_id)

    def get_vocab(self) -> dict[str, int]:
        """Id of each token, added ones included."""
        return {**self._base_vocab, **self._added.ids}

    def get_added_vocab(self) -> dict[str, int]:
        """Ids of the added and special tokens, in the order of the ids."""
        return {token.content: token_id for token_id, token in self.added_tokens_decoder.items()}

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Adds tokens that are recognised as a whole; those that the vocabulary lacks get ids from ``len()`` on.

        Args:
            new_tokens: a string, an ``AddedToken``, or a list of these.
            special_tokens: whether they are special.

        Returns:
            How many are new. Models then need ``resize_token_embeddings``.
        """
        values = [new_tokens] if isinstance(new_tokens, (str, AddedToken)) else new_tokens
        if not isinstance(values, (list, tuple)):
            values = [values]
        tokens = [AddedToken.of(value, special=True if special_tokens else None) for value in values]
        return sum(self._add(self._normalized(token)) for token in tokens)

    def _normalized(self, token: AddedToken) -> AddedToken:
        return token

    def add_special_tokens(self, special_tokens_dict: Mapping[str, Any], replace_additional: bool = True) -> int:
        """Sets special tokens by name, adding those that the vocabulary lacks.

        Args:
            special_tokens_dict: names of ``SPECIAL_NAMES`` to tokens; ``additional_special_tokens`` to a list.
            replace_additional: the list takes the place of the one before, whose tokens stay in the vocabulary.

        Returns:
            How many tokens are new.

        Raises:
            ValueError: an unknown name.
        """
        before = len(self)
        for name, value in special_tokens_dict.items():
            if name in SPECIAL_NAMES:
                self._set_special(name, value)
            elif name == "additional_special_tokens":
                self._additional = [] if replace_additional else self._additional
                for token in value:
                    self._add_additional(token)
            else:
                known = ", ".join((*SPECIAL_NAMES, "additional_special_tokens"))
                raise ValueError(f"unknown special token name {name!r}; known are {known}")
        return len(self) - before

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int: ...
    @overload
    def convert_tokens_to_ids(self, tokens: list[str] | tuple[str, ...]) -> list[int]: ...
    def convert_tokens_to_ids(self, tokens: str | list[str] | tuple[str, ...]) -> int | list[int]:
        """Ids of tokens; that of the unknown token where the vocabulary lacks one.

        Raises:
            TypeError: something is no string.
        """
        if isinstance(tokens, (list, tuple)):
            return [self.convert_tokens_to_ids(token) for token in tokens]
        if not isinstance(tokens, str):
            raise TypeError(f"a token is a string, not {tokens!r}; use convert_ids_to_tokens for ids")
        token_id = self._id_of(tokens)
        return self._unknown_id if token_id is None else token_id

    @overload
    def convert_ids_to_tokens(self, ids: int, skip_special_tokens: bool = ...) -> str: ...
    @overload
    def convert_ids_to_tokens(self, ids: Iterable[int], skip_special_tokens: bool = ...) -> list[str]: ...
    def convert_ids_to_tokens(self, ids: int | Iterable[int], skip_special_tokens: bool = False) -> str | list[str]:
        """Tokens of ids.

        Args:
            ids: one id or several.
            skip_special_tokens: leave the special ones out.

        Raises:
            ValueError: an id that no token has.
            TypeError: something is no integer.
        """
        if not isinstance(ids, Iterable) or getattr(ids, "ndim", 1) == 0:
            return self._token_of(ids)
        skipped = self._skipped_ids() if skip_special_tokens else ()
        return [self._token_of(token_id) for token_id in self._integers(ids) if token_id not in skipped]

    def _skipped_ids(self) -> set[int]:
        """The ids that ``skip_special_tokens`` leaves out."""
        return set(self.all_special_ids)

    def _token_of(self, token_id: Any) -> str:
        number = self._integers([token_id])[0]
        added = self._added.by_id.get(number)
        if added is not None:
            return added.content
        if 0 <= number < self.vocab_size:
            return self._base_tokens[number]
        raise ValueError(
            f"token id {number} is out of range: ids go from 0 to {self._next_id() - 1}; padding of labels such as "
            "-100 must be replaced before decoding, and rows of an embedding beyond the vocabulary stand for no token"
        )

    @staticmethod
    def _integers(ids: Any) -> list[int]:
        values = ids.tolist() if hasattr(ids, "tolist") else list(ids.numpy() if hasattr(ids, "numpy") else ids)
        if any(isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) for value in values):
            raise TypeError("these ids have more than one row; use batch_decode for a batch")
        for value in values:
            if isinstance(value, (str, bytes, float, bool)) or not hasattr(value, "__index__"):
                raise TypeError(f"a token id is an integer, not {value!r}; use convert_tokens_to_ids for tokens")
        return [value.__index__() for value in values]

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        *,
        spaces_between_special_tokens: bool = True,
    ) -> str:
        """The text that ids stand for.

        Args:
            token_ids: ids, as a list, an array or a tensor of one axis, or one id.
            skip_special_tokens: leave the special tokens out.
            clean_up_tokenization_spaces: close up the space before punctuation; default: the tokenizer's setting.
            spaces_between_special_tokens: v2 and v3: put spaces around tokens that a user added.

        Raises:
            ValueError: an id that no token has.
            TypeError: the ids have two axes, or something is no integer.
        """
        if not isinstance(token_ids, Iterable) or getattr(token_ids, "ndim", 1) == 0:
            token_ids = [token_ids]
        tokens = self.convert_ids_to_tokens(token_ids, skip_special_tokens=skip_special_tokens)
        text = self._join_tokens(tokens, spaces_between_special_tokens)
        clean = clean_up_tokenization_spaces
        if clean is None:
            clean = bool(self.__dict__.get("clean_up_tokenization_spaces"))
        return self.clean_up_tokenization(text) if clean else text

    def _join_tokens(self, tokens: list[str], spaces: bool) -> str:
        return self.convert_tokens_to_string(tokens)

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **kwargs: Any) -> list[str]:
        """The texts of a batch of ids; the arguments are those of ``decode``."""
        return [self.decode(ids, skip_special_tokens, **kwargs) for ids in sequences]

    @staticmethod
    def clean_up_tokenization(text: str) -> str:
        """The text without spaces before punctuation and English contractions."""
        return CLEAN_UP.sub("", text.replace(" ' ", "'"))
