"""Tokenizers of DeBERTa v1, v2, v3 and mDeBERTa, without a deep-learning framework.

The slow and the fast class of a family give the same ids on every string: those of the tokenizer that the published
models were trained with.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .added_tokens import AddedToken
    from .auto import AutoTokenizer
    from .batch import BatchEncoding
    from .compare import compare_tokenizers
    from .deberta import DebertaTokenizer, DebertaV2Tokenizer
    from .fast import DebertaTokenizerFast, DebertaV2TokenizerFast
    from .training import train_from_iterator

__all__ = [
    "AddedToken",
    "AutoTokenizer",
    "BatchEncoding",
    "DebertaTokenizer",
    "DebertaTokenizerFast",
    "DebertaV2Tokenizer",
    "DebertaV2TokenizerFast",
    "compare_tokenizers",
    "train_from_iterator",
]

_HOMES = {
    "AddedToken": "added_tokens",
    "AutoTokenizer": "auto",
    "BatchEncoding": "batch",
    "DebertaTokenizer": "deberta",
    "DebertaTokenizerFast": "fast",
    "DebertaV2Tokenizer": "deberta",
    "DebertaV2TokenizerFast": "fast",
    "compare_tokenizers": "compare",
    "train_from_iterator": "training",
}


def __getattr__(name: str) -> Any:
    """Imports a name when it is first used, so that importing the package costs next to nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
