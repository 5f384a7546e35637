"""The classes with a pipeline of the ``tokenizers`` library beside the exact engine."""

from __future__ import annotations

import json
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .arguments import TextOptions
from .backend import (
    BackendEngine,
    add_special_parts,
    bpe_backend,
    legacy_unigram_backend,
    load_backend,
    unigram_backend,
)
from .deberta import DebertaTokenizer, DebertaV2Tokenizer, PathLike
from .engine import Engine, Span
from .files import read_bytes
from .following import FollowsFile
from .texts import Part


class FastTokenizer(FollowsFile):
    """What both fast classes add: ``backend_tokenizer``, tokenizer.json, and ``legacy_ids``."""

    legacy_ids = False
    _legacy_file: bytes | None = None
    _legacy_engines: tuple[BackendEngine, BackendEngine] | None = None

    @abstractmethod
    def _exact_backend(self) -> Any:
        """The pipeline that comes nearest to the exact engine."""

    @abstractmethod
    def _legacy_backend(self) -> Any:
        """The pipeline of transformers 4's fast class."""

    def _set_legacy(self, legacy_ids: bool, tokenizer_file: PathLike | None) -> None:
        self.legacy_ids = bool(legacy_ids) and self._rules is None  # the ids of rules are the library's own
        if self.legacy_ids and tokenizer_file is not None:
            self._legacy_file = read_bytes(Path(tokenizer_file))

    @property
    def backend_tokenizer(self) -> Any:
        """A ``tokenizers.Tokenizer`` made of this tokenizer's present state; changing it changes nothing here."""
        if self._rules is not None:
            return super().backend_tokenizer
        if not self.legacy_ids:
            return add_special_parts(self._exact_backend(), self)
        if self._legacy_file is not None:
            return load_backend(json.loads(self._legacy_file), "tokenizer.json")
        return add_special_parts(self._legacy_backend(), self, faulty_unk=True)

    def _engine_for(self, options: TextOptions) -> Engine:
        if not self.legacy_ids:
            return super()._engine_for(options)
        if not options.separator:
            raise ValueError("word_separator='' cannot be had with legacy_ids=True, whose words all begin with a space")
        if self._legacy_engines is None:
            plain, split = self.backend_tokenizer, self.backend_tokenizer
            split.encode_special_tokens = True
            self._legacy_engines = BackendEngine(plain), BackendEngine(split)
        return self._legacy_engines[0 if options.specials else 1]

    def _to_cut(self, texts: Sequence[str], options: TextOptions) -> set[int]:
        return set() if self.legacy_ids else super()._to_cut(texts, options)

    def _cut(self, text: str, options: TextOptions) -> tuple[list[Part], list[Span] | None]:
        if self.legacy_ids:
            return [Part(0, len(text), text)] if text else [], None
        return super()._cut(text, options)

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Adds tokens, as ``Vocabulary.add_tokens`` describes."""
        self._refuse_change()
        return super().add_tokens(new_tokens, special_tokens)

    def _refuse_change(self) -> None:
        if self._legacy_file is not None:
            raise ValueError(
                "tokens cannot be added to a tokenizer.json that is reproduced with legacy_ids=True; "
                "add them to the file, or load without legacy_ids"
            )
        self._legacy_engines = None

    def _fast_files(self) -> dict[str, bytes]:
        if self._rules is not None:
            return {}
        try:
            return {"tokenizer.json": self.backend_tokenizer.to_str(pretty=True).encode()}
        except ValueError as error:
            warnings.warn(f"tokenizer.json is not written: {error}", stacklevel=3)
            return {}

    def _config(self) -> dict[str, Any]:
        return super()._config() | ({"legacy_ids": True} if self.legacy_ids else {})

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_legacy_engines": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class DebertaTokenizerFast(FastTokenizer, DebertaTokenizer):
    """``DebertaTokenizer`` with a pipeline of the ``tokenizers`` library beside it. The ids are the same.

    Args:
        vocab_file: as there.
        merges_file: as there.
        tokenizer_file: tokenizer.json.
        errors: as there.
        legacy_ids: give the ids of transformers 4's fast class, which differ with ``add_prefix_space``.
        settings: the other arguments of ``DebertaTokenizer``.

    Raises:
        ValueError: as there.
    """

    def __init__(
        self,
        vocab_file: PathLike | Mapping[str, int] | None = None,
        merges_file: PathLike | Sequence[tuple[str, str]] | None = None,
        tokenizer_file: PathLike | None = None,
        errors: str = "replace",
        *,
        legacy_ids: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(vocab_file, merges_file, errors, tokenizer_file=tokenizer_file, **settings)
        self._check_rules()
        self._set_legacy(legacy_ids, tokenizer_file)

    def _exact_backend(self) -> Any:
        return bpe_backend(self._engine, self.unk_token, prefix=self.add_prefix_space)

    _legacy_backend = _exact_backend


class DebertaV2TokenizerFast(FastTokenizer, DebertaV2Tokenizer):
    """``DebertaV2Tokenizer`` with a pipeline of the ``tokenizers`` library beside it. The ids are the same.

    Args:
        vocab_file: as there.
        tokenizer_file: tokenizer.json.
        do_lower_case: as there.
        split_by_punct: as there.
        legacy_ids: give the ids of transformers 4's fast class on purpose, for models that were fine-tuned with it: it
            knows no byte pieces, and loses combining marks.
        settings: the other arguments of ``DebertaV2Tokenizer``.

    Raises:
        ValueError: as there.
    """

    def __init__(
        self,
        vocab_file: PathLike | bytes | None = None,
        tokenizer_file: PathLike | None = None,
        do_lower_case: bool = False,
        split_by_punct: bool = False,
        *,
        legacy_ids: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(vocab_file, do_lower_case, split_by_punct, tokenizer_file=tokenizer_file, **settings)
        self._check_rules()
        self._set_legacy(legacy_ids, tokenizer_file)

    def _exact_backend(self) -> Any:
        return unigram_backend(
            self._engine.model,
            self._unknown_id,
            lower_case=self.do_lower_case,
            split_by_punct=self.split_by_punct,
            prefix=self.add_prefix_space,
        )

    def _legacy_backend(self) -> Any:
        return legacy_unigram_backend(
            self._engine.model, self._unknown_id, lower_case=self.do_lower_case, split_by_punct=self.split_by_punct
        )
