"""The classes with a pipeline of the ``tokenizers`` library beside the exact engine, or in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .backend import pipeline_of
from .deberta import DebertaTokenizer, DebertaV2Tokenizer, PathLike
from .files import read_bytes
from .pipeline import LegacyEngine
from .tokenizer import Tokenizer

BACKEND = property(
    pipeline_of,
    doc="A ``tokenizers.Tokenizer`` made of this tokenizer's present state; changing it changes nothing here.",
)


class DebertaTokenizerFast(DebertaTokenizer):
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

    is_fast = True
    taken_for = ("transformers.tokenization_utils_fast", "PreTrainedTokenizerFast")
    backend_tokenizer = BACKEND

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
        _finish(self, legacy_ids, tokenizer_file)


class DebertaV2TokenizerFast(DebertaV2Tokenizer):
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

    is_fast = True
    taken_for = ("transformers.tokenization_utils_fast", "PreTrainedTokenizerFast")
    backend_tokenizer = BACKEND

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
        _finish(self, legacy_ids, tokenizer_file)


def _finish(tokenizer: Tokenizer, legacy_ids: bool, tokenizer_file: PathLike | None) -> None:
    """Puts the pipelines of transformers 4 in the place of the exact engine where they are asked for."""
    if tokenizer._engine.follows_file:  # the ids are the library's own; rules that it knows not are refused at once
        tokenizer._engine.segmenter(tokenizer._reading(None, None), tokenizer._vocabulary.added)
    elif legacy_ids:
        tokenizer.legacy_ids = True
        tokenizer._fixed_file = None if tokenizer_file is None else read_bytes(Path(tokenizer_file))
        tokenizer._engine = LegacyEngine(tokenizer._engine, tokenizer)
