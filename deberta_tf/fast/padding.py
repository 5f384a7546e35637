"""Padding left out: but for attention itself, layers compute the visible tokens of a batch, one behind the other.

All hidden tokens are alike, zero before the first layer and attending to nothing, so one row stands for all of them.
Attention puts projected states back to their places, where distances are known. XLA, whose shapes may not depend on
values, computes padding.

Shapes: ``B`` batch, ``L`` tokens, ``T`` visible tokens and a hidden one, or ``B * L`` where leaving padding out does
not pay, which a graph knows when it runs; ``X`` any size.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from deberta_tf.layers import shape_of

SAVED = 8  # of so many tokens one at least must be hidden: moving rows has its price


class Places(NamedTuple):
    """Where the tokens of a batch are while padding is left out.

    Attributes:
        of_rows: place ``b * L + i`` of each row, int ``[T]``; the last is the first hidden token's.
        rows: the row of each place, int ``[B, L]``.
        blind: whether a row is that of the hidden tokens, or of one, bool ``[1, T, 1]``.
        pays: whether padding is left out, bool ``[]``.
    """

    of_rows: tf.Tensor
    rows: tf.Tensor
    blind: tf.Tensor
    pays: tf.Tensor


def pack(states: tf.Tensor, places: Places | None) -> tf.Tensor:
    """``[B, L, X]``, alike wherever tokens are hidden -> ``[1, T, X]``; without places the states as they are."""
    if places is None:
        return states
    flat = tf.reshape(states, [-1, shape_of(states)[2]])
    return tf.cond(places.pays, lambda: tf.gather(flat, places.of_rows), lambda: flat)[None]


def unpack(packed: tf.Tensor, places: Places | None) -> tf.Tensor:
    """The inverse: ``[1, T, X]`` -> ``[B, L, X]``."""
    if places is None:
        return packed
    flat, row_of = packed[0], tf.reshape(places.rows, [-1])
    found = tf.cond(places.pays, lambda: tf.gather(flat, row_of), lambda: flat)
    return tf.reshape(found, [*shape_of(places.rows), shape_of(packed)[2]])


def places_of(token_mask: tf.Tensor) -> Places:
    """Those of a bool mask ``[B, L]``, true where a token is visible."""
    visible = tf.reshape(token_mask, [-1])
    seen = tf.cast(visible, tf.int32)
    count, size = tf.reduce_sum(seen), shape_of(seen)[0]
    of_rows = tf.concat([tf.where(visible), tf.where(~visible)[:1]], 0)[:, 0]
    rows = tf.where(visible, tf.cumsum(seen) - 1, count)
    pays = (size - count) * SAVED >= size
    blind = tf.cond(pays, lambda: ~tf.gather(visible, of_rows), lambda: ~visible)[None, :, None]
    return Places(of_rows, tf.reshape(rows, shape_of(token_mask)), blind, pays)
