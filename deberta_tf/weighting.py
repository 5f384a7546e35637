"""Weights of examples and classes, as ``fit`` and ``evaluate`` are given them, for the models' own losses."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from deberta_core.checks import IGNORED


class LossWeights:
    """What single losses are multiplied by before their mean, which divides by the number of labels, as Keras' does.

    Args:
        examples: ``[B]`` or, for losses of tokens, ``[B, L]``; ``None``: all 1.
        classes: by number of the class; those not named weigh 1.
    """

    def __init__(self, examples: Any = None, classes: Mapping[int, float] | None = None) -> None:
        self.examples, self.used = examples, False
        size = max(classes, default=-1) + 1 if classes else 0
        self.classes = [float((classes or {}).get(i, 1.0)) for i in range(size)]

    def times(self, losses: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        """Weighted losses, ``[B, ...]``; ``labels`` are numbers of classes of the same shape."""
        self.used = True
        if self.examples is not None:
            given = tf.cast(self.examples, losses.dtype)
            if losses.shape.rank == 1:
                losses *= tf.reshape(given, [-1])  # Keras may make a column of them
            else:  # whose rank Keras' graphs may not know
                ones = tf.ones([losses.shape.rank - tf.rank(given)], tf.int32)
                losses *= tf.reshape(given, tf.concat([tf.shape(given), ones], 0))
        if self.classes:
            if labels is None:
                raise ValueError("class_weight is for labels that are numbers of classes, which these are not")
            table = tf.constant([*self.classes, 1.0], losses.dtype)
            known = (labels != IGNORED) & (labels < len(self.classes))
            losses *= tf.gather(table, tf.where(known, labels, len(self.classes)))
        return losses


_running: contextvars.ContextVar[LossWeights | None] = contextvars.ContextVar("loss weights", default=None)


@contextlib.contextmanager
def loss_weights(weights: LossWeights | None) -> Iterator[None]:
    """Let the losses computed inside be weighted."""
    token = _running.set(weights)
    try:
        yield
    finally:
        _running.reset(token)


def weighted(losses: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
    """Single losses times the weights that are in force."""
    weights = _running.get()
    return losses if weights is None else weights.times(losses, labels)
