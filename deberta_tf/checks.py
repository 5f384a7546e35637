"""Checks of values: an error at once in eager mode, an assertion in a graph, nothing under XLA."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from deberta_core.checks import NEGATIVE_MASK, out_of_range
from deberta_core.config import BaseConfig


def refuse_if(wrong: tf.Tensor, text: Callable[[], str]) -> list[tf.Operation]:
    """Raise if any entry of ``wrong`` is true.

    Args:
        wrong: bool, any shape.
        text: what to say.

    Returns:
        What must run before the checked tensor is read; nothing in eager mode.

    Raises:
        ValueError: in eager mode; in a graph the same text comes as ``tf.errors.InvalidArgumentError``.
    """
    if not tf.executing_eagerly():
        return [tf.debugging.Assert(tf.logical_not(tf.reduce_any(wrong)), [text()])]
    if tf.reduce_any(wrong):
        raise ValueError(text())
    return []


def check_values(
    config: BaseConfig,
    ids: tf.Tensor | None,
    mask: tf.Tensor | None,
    types: tf.Tensor | None,
    positions: tf.Tensor | None,
) -> list[tf.Operation]:
    """Refuse ids beyond their table and additive masks, in eager mode and in plain graphs.

    Raises:
        ValueError: for the first input that does not fit; in a graph ``tf.errors.InvalidArgumentError``.
    """
    checks = []
    if ids is not None:
        wrong = (ids < 0) | (ids >= config.vocab_size)
        checks += refuse_if(wrong, lambda: out_of_range("input_ids", "the word table", config.vocab_size))
    if types is not None and config.type_vocab_size > 0:
        wrong = (types < 0) | (types >= config.type_vocab_size)
        text = out_of_range("token_type_ids", "the table of token types", config.type_vocab_size)
        checks += refuse_if(wrong, lambda: text)
    if positions is not None:
        rows = config.max_position_embeddings
        wrong = (positions < 0) | (positions >= rows)
        checks += refuse_if(wrong, lambda: out_of_range("position_ids", "the table of positions", rows))
    if mask is not None and mask.dtype.is_floating:
        checks += refuse_if(mask < 0, lambda: NEGATIVE_MASK)
    return checks
