"""Tokenizers of DeBERTa v1, v2, v3 and mDeBERTa, without a deep-learning framework."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .deberta import DebertaTokenizer, DebertaV2Tokenizer

_HOMES = {
    "AddedToken": "added_tokens",
    "BatchEncoding": "batch",
    "DebertaTokenizer": "deberta",
    "DebertaV2Tokenizer": "deberta",
}
__all__ = ["DebertaTokenizer", "DebertaV2Tokenizer"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    return value
