"""Models prepared for inference: weights fused and frozen, position keys kept.

A prepared attention holds query, key and value as one matrix with the scale folded in, and what its projections make of
the relative table, with the parts of it that a few short lengths read. Everything else of the model stays as it is.

Shapes: ``B`` batch, ``L`` tokens (``Q`` queries, ``K`` keys), ``H`` hidden size, ``N`` heads, ``D`` head size, ``R``
rows of the relative table.
"""

from __future__ import annotations

import contextlib
from typing import TypeVar

import tensorflow as tf
import tf_keras

from deberta_core.relative_position import even_distance
from deberta_tf.attention import DisentangledSelfAttention, FusedSelfAttention, Mask, Relative
from deberta_tf.fast.blocked import (
    Tables,
    Tensors,
    attend,
    bias_of,
    margin_needed,
    probabilities,
    tables_of,
    without_blind,
)
from deberta_tf.fast.padding import Places, pack, unpack
from deberta_tf.layers import Module, policy, shape_of

AnyModel = TypeVar("AnyModel", bound=tf_keras.Model)


def fused_projection(attention: DisentangledSelfAttention) -> tuple[tf.Tensor, tf.Tensor]:
    """Query, key and value as one matrix ``[H, 3*N*D]`` and one bias, the queries scaled."""
    if isinstance(attention, FusedSelfAttention):
        kernels = attention.split_fused(attention.in_proj.kernel[None])
        weights = [kernel[0] for kernel in kernels]
        biases = [attention.q_bias, tf.zeros_like(attention.q_bias), attention.v_bias]
    else:
        parts = (attention.query_proj, attention.key_proj, attention.value_proj)
        weights, biases = [part.kernel for part in parts], [part.bias for part in parts]
    scales = (attention.scale, 1.0, 1.0)
    return (
        tf.concat([tf.convert_to_tensor(w) * s for w, s in zip(weights, scales, strict=True)], -1),
        tf.concat([tf.convert_to_tensor(b) * s for b, s in zip(biases, scales, strict=True)], -1),
    )


class PreparedSelfAttention(Module):
    """Called as ``DisentangledSelfAttention``.

    Args:
        attention: what it computes.
        rows: the whole relative table, as attention reads it, ``[R, H]``; ``None`` for a model without.
        even: distance up to which, on either side of its middle, the rows of the table follow distances one by one.
    """

    def __init__(self, attention: DisentangledSelfAttention, rows: tf.Tensor | None, even: int) -> None:
        super().__init__(name="self", trainable=False, dtype=attention.dtype_policy)
        self.even, self.num_heads, self.width = even, attention.num_heads, attention.width
        kernel, bias = (tf.cast(x, self.compute_dtype) for x in fused_projection(attention))
        self.kernel, self.bias = tf.Variable(kernel, trainable=False), tf.Variable(bias, trainable=False)
        pos_key, pos_query = (None, None) if rows is None else attention.project_positions(rows)

        def by_head(positions: tf.Tensor | None, scale: float) -> tf.Variable | None:
            if positions is None:
                return None
            scaled = tf.cast(positions * scale, self.compute_dtype)
            split = tf.reshape(scaled, [-1, attention.num_heads, attention.head_size])
            return tf.Variable(tf.transpose(split, [1, 0, 2]), trainable=False)  # [N, R, D]

        self.pos_key = by_head(None if pos_key is None else pos_key[::-1], 1.0)  # the last row first: distances fall
        self.pos_query = by_head(pos_query, attention.scale)
        self.spare = 0 if rows is None else rows.shape[0]  # rows that slices may still hold
        self.__dict__["slices"] = {}  # Tables by size; Keras would save them

    def call(
        self,
        hidden: tf.Tensor,
        mask: Mask | None,
        relative: Relative | None,
        query_states: tf.Tensor | None = None,
        output_attentions: bool = False,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Context ``[B, Q, N*D]``, or ``[1, T, N*D]`` if the mask has places, and probabilities; never any dropout."""
        places = None if mask is None else mask.places
        if query_states is None:
            query, key, value = self.project(hidden, places)
        else:
            (query,), (key, value) = self.project(query_states, None, 0, 1), self.project(hidden, None, 1, 3)
        tensors = Tensors(query, key, value, *self.tables(relative, query, key), bias_of(mask))
        probs = None
        if output_attentions:
            probs = probabilities(tensors, 0.0, 0, shape_of(tensors.query)[2])
            context = tf.matmul(probs, value)
            probs = tf.transpose(without_blind(probs, mask), [1, 0, 2, 3])
        else:
            context = attend(tensors)
        context = tf.transpose(without_blind(context, mask), [1, 2, 0, 3])  # [B, Q, N, D]
        return pack(tf.reshape(context, [*shape_of(context)[:2], self.width]), places), probs

    def tables(self, relative: Relative | None, query: tf.Tensor, key: tf.Tensor) -> Tables:
        """Those for queries ``[N, B, Q, D]`` and keys ``[N, B, K, D]``; slices for short texts of known length.

        Slices of the first lengths are kept, together no more than the tables: no graph copies them in every call.
        """
        (up, down), margin = (None if x.shape[2] is None else x.shape[2] - 1 for x in (query, key)), margin_needed()
        if relative is None or up is None or down is None or max(up, down) + margin > self.even:
            whole = None if relative is None else relative.of_whole()
            return tables_of(self.pos_key, self.pos_query, whole, backwards=True)
        sizes, rows = (up, down, margin), up + 1 + down + 2 * margin
        if sizes in self.slices:
            return self.slices[sizes]

        def piece(table: tf.Tensor | None, before: int) -> tf.Tensor | None:
            if table is None:
                return None
            first = table.shape[1] // 2 - before - margin
            return table[:, first : first + rows]

        kept = rows <= self.spare
        with tf.init_scope() if kept else contextlib.nullcontext():  # outside of the graph that is being traced
            found = Tables(piece(self.pos_key, up + 1), piece(self.pos_query, down), relative.reach, margin)
        if kept:
            self.slices[sizes], self.spare = found, self.spare - rows
        return found

    def project(self, hidden: tf.Tensor, places: Places | None, first: int = 0, last: int = 3) -> list[tf.Tensor]:
        """Query, key and value, or some of these three, ``[N, B, L, D]`` each."""
        batch, length, size = shape_of(hidden)
        part = slice(first * self.width, last * self.width)
        whole = last - first == 3  # slicing would copy it in every call
        kernel, bias = (self.kernel, self.bias) if whole else (self.kernel[:, part], self.bias[part])
        fused = tf.nn.bias_add(tf.matmul(tf.reshape(hidden, [batch * length, size]), kernel), bias)
        fused = unpack(tf.reshape(fused, [batch, length, kernel.shape[1]]), places)
        parts = [last - first, self.num_heads, self.width // self.num_heads]
        split = tf.reshape(fused, [*shape_of(fused)[:2], *parts])  # [B, L, 1 to 3, N, D]
        return tf.unstack(tf.transpose(split, [2, 3, 0, 1, 4]))


def optimize_for_inference(model: AnyModel, dtype: tf.DType | str | None = None) -> AnyModel:
    """A copy of a model that gives the same outputs faster, and cannot be trained or saved.

    Args:
        model: any model of this package; the copy does not follow later changes to it. One that is prepared already is
            given back.
        dtype: dtype of the weights, or a policy of Keras; default: as they are. On processors with bfloat16
            instructions ``"bfloat16"`` is faster still, with results near those of float32.

    Returns:
        A model of the same class: same inputs, same outputs, attentions on request. Wrap its call in ``tf.function``
        (``jit_compile=True`` for XLA). Models with talking heads or ``masked_rows="uniform"`` are copied and frozen, no
        more.

    Raises:
        TypeError: for something that is not a model of this package.
        ValueError: if a prepared model is to have another dtype.
    """
    if not hasattr(type(model), "prepared"):
        raise TypeError(f"expected a model of deberta_tf, got a {type(model).__name__}")
    dtype, own = dtype.name if isinstance(dtype, tf.DType) else dtype, model.base_model.dtype_policy.name
    if model.prepared:
        if dtype not in (None, own):
            raise ValueError(f"the model was prepared in {own}; give dtype={dtype!r} where it is prepared first")
        return model
    with policy(dtype or own):
        prepared = type(model)(model.config)
        for new, old in zip(prepared.weights, model.weights, strict=True):
            new.assign(tf.cast(old, new.dtype))
        encoder = prepared.base_model.encoder
        if not model.config.mixes_heads and model.config.masked_rows == "zero":
            rows = None
            if encoder.reads_positions:
                rows = encoder.normalise(tf.convert_to_tensor(encoder.rel_embeddings.embeddings))
            even = even_distance(encoder.distance_rows)
            for layer in encoder.layer:
                layer.attention.self = PreparedSelfAttention(layer.attention.self, rows, even)
            prepared.prepared = True
    prepared.trainable = False
    return prepared
