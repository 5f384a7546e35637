"""The stack of layers over one relative table, and the convolution of v2.

Shapes: ``B`` batch, ``L`` tokens (``Q`` queries, ``K`` keys), ``H`` hidden size, ``R`` rows of the relative table in
use.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from deberta_core.config import BaseConfig
from deberta_core.relative_position import distance_rows, needed_rows
from deberta_tf.activations import ACTIVATIONS
from deberta_tf.attention import ATTENTIONS, FusedSelfAttention, Mask, Relative, SeparateSelfAttention
from deberta_tf.fast.blocked import blocked
from deberta_tf.fast.dropout import Seeds, TFDropout, dropout_seeds, running_seeds
from deberta_tf.fast.padding import Places, pack, places_of, unpack
from deberta_tf.layers import LayerNorm, Module, TFConv1D, TFEmbedding, is_compiled, linear, shape_of

ATTENTIONS.update(blocked=blocked)


class Output(Module):
    """Projection, dropout, residual and layer norm: the end of both halves of a layer."""

    def __init__(self, config: BaseConfig, width: int, name: str = "output") -> None:
        super().__init__(name=name)
        with tf.name_scope(name):
            self.dense = linear(width, config.hidden_size, config.initializer_range, name="dense")
            self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = TFDropout(config.hidden_dropout_prob)

    def call(
        self, states: tf.Tensor, residual: tf.Tensor, blind: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        """``[B, Q, width]`` and ``[B, Q, H]`` -> ``[B, Q, H]``; ``blind`` as in ``LayerNorm``."""
        return self.LayerNorm(self.dropout(self.dense(states), training=training) + residual, blind)


class TFAttention(Module):
    """Self-attention and its output projection."""

    def __init__(self, config: BaseConfig, layer: int, name: str = "attention") -> None:
        super().__init__(name=name)
        cls = FusedSelfAttention if config.model_type == "deberta" else SeparateSelfAttention
        with tf.name_scope(name):
            self.self = cls(config, layer)
            self.output_layer = Output(config, self.self.width)

    def call(
        self,
        hidden: tf.Tensor,
        mask: Mask | None,
        relative: Relative | None,
        query_states: tf.Tensor | None = None,
        output_attentions: bool = False,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """As ``DisentangledSelfAttention``, with the residual of the queries: ``[B, Q, H]`` and probabilities."""
        context, probs = self.self(hidden, mask, relative, query_states, output_attentions, training=training)
        residual = hidden if query_states is None else query_states
        blind = None if mask is None else mask.blind_states()
        return self.output_layer(context, residual, blind, training=training), probs


class Intermediate(Module):
    """First half of the feed-forward part."""

    def __init__(self, config: BaseConfig, name: str = "intermediate") -> None:
        super().__init__(name=name)
        with tf.name_scope(name):
            self.dense = linear(
                config.hidden_size,
                config.intermediate_size,
                config.initializer_range,
                name="dense",
                activation=ACTIVATIONS[config.hidden_act],
            )

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        """``[B, L, H]`` -> ``[B, L, I]``."""
        return self.dense(hidden)


class Layer(Module):
    """Attention and feed-forward part, each with residual and layer norm after it."""

    def __init__(self, config: BaseConfig, layer: int, name: str = "layer") -> None:
        super().__init__(name=name)
        with tf.name_scope(name):
            self.attention = TFAttention(config, layer)
            self.intermediate = Intermediate(config)
            self.output_layer = Output(config, config.intermediate_size)

    def call(
        self,
        hidden: tf.Tensor,
        mask: Mask | None,
        relative: Relative | None,
        query_states: tf.Tensor | None = None,
        output_attentions: bool = False,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Token states ``[B, Q, H]`` and attention probabilities ``[B, N, Q, K]`` or ``None``."""
        attended, probs = self.attention(hidden, mask, relative, query_states, output_attentions, training=training)
        blind = None if mask is None else mask.blind_states()
        return self.output_layer(self.intermediate(attended), attended, blind, training=training), probs


class Convolution(Module):
    """What v2 adds to the first layer's output: a convolution over the layer's input."""

    def __init__(self, config: BaseConfig, name: str = "conv") -> None:
        super().__init__(name=name)
        hidden, width = config.hidden_size, config.convolution_width
        with tf.name_scope(name):
            self.conv = TFConv1D(hidden, width, config.convolution_groups)
            self.LayerNorm = LayerNorm(hidden, config.layer_norm_eps)
        self.dropout = TFDropout(config.hidden_dropout_prob)
        self.activation = ACTIVATIONS[config.convolution_act]

    def call(
        self, hidden: tf.Tensor, layer_output: tf.Tensor, mask: Mask | None, training: bool | None = None
    ) -> tf.Tensor:
        """Add the convolution of ``hidden`` to ``layer_output`` and normalise.

        Args:
            hidden: input of the first layer, ``[B, L, H]``, zero where nothing is visible.
            layer_output: output of the first layer, ``[B, L, H]``.
            mask: what the batch hides; of a mask of pairs, position i reads position j only where i sees j.
            training: whether dropout acts.

        Returns:
            ``[B, L, H]``, zero where nobody may see a token.
        """
        if mask is None:
            mixed = self.dropout(self.convolve(hidden), training=training)
            return self.LayerNorm(layer_output + self.activation(mixed))
        by_pairs = mask.keys.shape[2] != 1
        mixed = self.convolve_pairs(hidden, mask.keys[:, 0]) if by_pairs else self.convolve(hidden)
        kept = tf.expand_dims(mask.tokens(), -1)  # [B, L, 1]
        # Hidden tokens are zero before the activation and after the norm, whose bias would show there otherwise.
        mixed = self.activation(self.dropout(tf.where(kept, mixed, 0), training=training))
        return self.LayerNorm(layer_output + mixed, mask.blind[:, 0]) * tf.cast(kept, mixed.dtype)

    def convolve(self, hidden: tf.Tensor) -> tf.Tensor:
        """``[B, L, H]`` -> ``[B, L, H]``."""
        return self.conv(self.taps(hidden))

    def convolve_pairs(self, hidden: tf.Tensor, pair_mask: tf.Tensor) -> tf.Tensor:
        """As ``convolve``, each tap counting only where ``pair_mask`` ``[B, L, L]`` lets it."""
        width, half = self.conv.width, self.conv.width // 2
        taps = self.taps(hidden)  # [B, L, width, H]
        seen = tf.pad(tf.cast(pair_mask, taps.dtype), [[0, 0], [0, 0], [half, half]])  # [B, L, L+width-1]
        near = tf.stack([tf.linalg.diag_part(seen[:, :, s : s + shape_of(taps)[1]]) for s in range(width)], -1)
        return self.conv(taps * near[..., None])

    def taps(self, hidden: tf.Tensor) -> tf.Tensor:
        """The tokens around each position, zero beyond the ends: ``[B, L, H]`` -> ``[B, L, width, H]``."""
        width, half = self.conv.width, self.conv.width // 2
        padded = tf.pad(hidden, [[0, 0], [half, half], [0, 0]])
        return tf.stack([padded[:, s : s + shape_of(hidden)[1]] for s in range(width)], 2)


class Encoder(Module):
    """All layers. ``rel_embeddings`` is one table for all of them."""

    def __init__(self, config: BaseConfig, name: str = "encoder") -> None:
        super().__init__(name=name)
        hidden = config.hidden_size
        with tf.name_scope(name):
            self.layer = [Layer(config, i, name=f"layer_._{i}") for i in range(config.num_hidden_layers)]
            if config.relative_attention:
                rows = 2 * config.span
                self.rel_embeddings = TFEmbedding(rows, hidden, config.initializer_range, name="rel_embeddings")
            if config.normalises_relative:
                self.LayerNorm = LayerNorm(hidden, config.layer_norm_eps)
            if config.convolution_width > 0:
                self.conv = Convolution(config)
        self.config = config
        self.span, self.reads_positions = config.span, config.c2p or config.p2c
        self.distance_rows = np.array(distance_rows(config), np.int32)
        distances = np.arange(len(self.distance_rows)) - len(self.distance_rows) // 2
        self.compresses = bool((abs(self.distance_rows - config.span) <= abs(distances)).all())
        self.checkpointing = False

    def relative(self, queries: int, keys: int) -> Relative | None:
        """Rows of the relative table for ``queries`` x ``keys`` tokens, normalised if the config says so."""
        if not self.reads_positions:
            return None
        span, reach = self.span, len(self.distance_rows) // 2
        first, last = 0, 2 * span - 1
        if isinstance(queries, int) and isinstance(keys, int):
            first, last = needed_rows(self.distance_rows, queries=queries, keys=keys)
        elif self.compresses:  # lengths are not known while the graph is traced
            first, last = span - tf.minimum(keys - 1, span), span + tf.minimum(queries - 1, span - 1)
        rows = self.normalise(self.rel_embeddings.embeddings[first : last + 1])
        distance = tf.range(queries - 1, -keys, -1)  # [Q+K-1]
        columns = tf.gather(self.distance_rows, tf.clip_by_value(distance, -reach, reach) + reach) - first
        return Relative(rows, columns, first, reach)

    def normalise(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows ``[R, H]`` of the relative table as attention reads them."""
        return self.LayerNorm(rows) if hasattr(self, "LayerNorm") else rows

    def places(self, mask: Mask | None) -> Places | None:
        """Those of the tokens if padding is left out: not by the reference, nor where hidden tokens attend."""
        if mask is None or not mask.is_padding or self.config.masked_rows == "uniform":
            return None
        return None if self.config.attn_implementation == "eager" or is_compiled() else places_of(mask.tokens())

    def call(
        self,
        hidden: tf.Tensor,
        mask: Mask | None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...] | None, tuple[tf.Tensor, ...] | None]:
        """Run all layers.

        Args:
            hidden: embeddings, ``[B, L, H]``.
            mask: what the batch hides.
            output_hidden_states: also return all states.
            output_attentions: also return all probabilities.
            training: whether dropout acts.

        Returns:
            Last states ``[B, L, H]``; embeddings and each layer's states, or ``None``; each layer's probabilities
            ``[B, N, L, L]``, or ``None``.
        """
        length = shape_of(hidden)[1]
        relative = self.relative(length, length)
        states, attentions = [hidden], []
        places = self.places(mask)
        mask = None if mask is None else mask._replace(places=places)
        packed = pack(hidden, places)
        for i, layer in enumerate(self.layer):
            packed, probs = self.run_layer(layer, packed, mask, relative, None, output_attentions, training=training)
            if i == 0 and hasattr(self, "conv"):
                output = self.conv(hidden, unpack(packed, places), mask, training=training)
                packed = pack(output, places)
            if output_hidden_states:
                states.append(unpack(packed, places))
            attentions.append(probs)
        return (
            states[-1] if output_hidden_states else unpack(packed, places),
            tuple(states) if output_hidden_states else None,
            tuple(attentions) if output_attentions else None,
        )

    def run_layer(
        self,
        layer: Layer,
        hidden: tf.Tensor,
        mask: Mask | None,
        relative: Relative | None,
        query_states: tf.Tensor | None = None,
        output_attentions: bool = False,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """One layer, recomputed in the backward pass if gradient checkpointing is on."""
        if not (self.checkpointing and training):
            return layer(hidden, mask, relative, query_states, output_attentions, training=training)
        given = {"hidden": hidden, "rows": None if relative is None else relative.rows, "query_states": query_states}
        given = {name: x for name, x in given.items() if x is not None}  # it takes nothing but tensors
        seeds = running_seeds()
        first, state = (0, None) if seeds is None else (seeds.drawn, tf.convert_to_tensor(seeds.state))

        def run(*tensors: tf.Tensor) -> list[tf.Tensor]:
            now = dict(zip(given, tensors, strict=True))
            again = None if relative is None else relative._replace(rows=now["rows"])
            states = (now["hidden"], mask, again, now.get("query_states"), output_attentions)
            mine = None if state is None else Seeds(state, first)  # the same dropout in both runs
            with dropout_seeds(mine):
                output, probs = layer(*states, training=training)
            if seeds is not None and mine is not None:
                seeds.drawn = mine.drawn
            return [output] if probs is None else [output, probs]

        output, *probs = tf.recompute_grad(run)(*given.values())
        return output, probs[0] if probs else None

    def set_checkpointing(self, enabled: bool) -> None:
        """Turn gradient checkpointing on or off."""
        self.checkpointing = enabled


def read_mask(attention_mask: tf.Tensor | None) -> Mask | None:
    """What a batch hides, from any of the shapes a caller may give; ``None``: nothing.

    Args:
        attention_mask: ``[B, L]``, ``[B, 1, 1, L]``, ``[B, L, L]`` or ``[B, 1, L, L]``; non-zero is visible. A hidden
            token of a ``[B, L]`` mask also sees nothing itself.
    """
    if attention_mask is None:
        return None
    keys = tf.cast(attention_mask, tf.bool)
    if keys.shape.rank == 2:
        keys = tf.expand_dims(keys, 1)  # by slices, TensorFlow Lite gives truth values no new axes
        return Mask(tf.expand_dims(keys, 1), ~tf.expand_dims(keys, -1), is_padding=True)
    keys = keys if keys.shape.rank == 4 else tf.expand_dims(keys, 1)  # [B, 1, 1 or L, L]
    if keys.shape[2] is None:  # a graph for either: what is one row for all queries becomes one for each
        batch, _, _, length = shape_of(keys)
        keys = tf.broadcast_to(keys, [batch, 1, length, length])
    return Mask(keys, ~tf.reduce_any(keys, -1, keepdims=True))
