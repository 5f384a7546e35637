"""Tokenizers of DeBERTa v1, v2, v3 and mDeBERTa, without a deep-learning framework.

The slow and the fast class of a family give the same ids on every string: those of the tokenizer that the published
models were trained with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deberta_core.lazy import lazy

if TYPE_CHECKING:
    from .added_tokens import AddedToken
    from .auto import AutoTokenizer
    from .bases import PreTrainedTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
    from .compare import compare_tokenizers
    from .deberta import DebertaTokenizer, DebertaV2Tokenizer
    from .encoding import BatchEncoding
    from .fast import DebertaTokenizerFast, DebertaV2TokenizerFast
    from .file_tokenizer import FileTokenizer
    from .training import train_from_iterator

__all__ = [
    "AddedToken",
    "AutoTokenizer",
    "BatchEncoding",
    "DebertaTokenizer",
    "DebertaTokenizerFast",
    "DebertaV2Tokenizer",
    "DebertaV2TokenizerFast",
    "FileTokenizer",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerBase",
    "PreTrainedTokenizerFast",
    "compare_tokenizers",
    "train_from_iterator",
]

if not TYPE_CHECKING:  # which tells names that are not there
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "tokenization.added_tokens": ("AddedToken",),
            "tokenization.auto": ("AutoTokenizer",),
            "tokenization.bases": ("PreTrainedTokenizer", "PreTrainedTokenizerBase", "PreTrainedTokenizerFast"),
            "tokenization.encoding": ("BatchEncoding",),
            "tokenization.compare": ("compare_tokenizers",),
            "tokenization.deberta": ("DebertaTokenizer", "DebertaV2Tokenizer"),
            "tokenization.fast": ("DebertaTokenizerFast", "DebertaV2TokenizerFast"),
            "tokenization.file_tokenizer": ("FileTokenizer",),
            "tokenization.training": ("train_from_iterator",),
        },
    )
