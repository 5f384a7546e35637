"""A small tokenizer on the bundled sentences, and small models of the zoo for pretraining."""

from __future__ import annotations

import functools
from typing import Any

from deberta_tasks.data import BUNDLED, hold_back, read_csv


@functools.cache
def sentences() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Bundled sentences to train on, and those held back."""
    train, held = hold_back(read_csv(BUNDLED))
    return tuple(e["text"] for e in train), tuple(e["text"] for e in held)


@functools.cache
def tokenizer() -> Any:
    """Pieces of the training sentences; cached, so leave it unchanged."""
    from tokenization import train_from_iterator

    return train_from_iterator(sentences()[0], 500, fast=False, byte_fallback=False)
