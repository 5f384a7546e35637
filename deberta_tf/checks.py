"""Checks of values: an error at once in eager mode, an assertion in a graph, nothing under XLA."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


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
