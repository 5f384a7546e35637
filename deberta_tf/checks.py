"""Checks of values: an error at once in eager mode, an assertion in a graph, nothing under XLA."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def refuse_if(wrong: tf.Tensor, text: Callable[[], str]) -> None:
    """Raise if any entry of ``wrong`` is true.

    Args:
        wrong: bool, any shape.
        text: what to say.

    Raises:
        ValueError: in eager mode; in a graph the same text comes as ``tf.errors.InvalidArgumentError``.
    """
    if not tf.executing_eagerly():
        tf.debugging.Assert(tf.logical_not(tf.reduce_any(wrong)), [text()])
    elif tf.reduce_any(wrong):
        raise ValueError(text())
