"""Disentangled self-attention: content scores plus the two terms that know the distance of query and key.

Shapes: ``B`` batch, ``Q`` queries, ``K`` keys, ``H`` hidden size, ``N`` heads, ``D`` head size, ``R`` rows of the
relative table that these lengths need, ``T`` rows of states from which padding is left out. Scores depend on position
through ``i - j`` alone, so states meet rows, not pairs of tokens: a product ``[B, N, Q, R]`` is widened to one column
per distance and skewed into ``[B, N, Q, K]``.

Source: He et al. 2021 (arXiv 2006.03654), section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from deberta_core.config import BaseConfig
from deberta_tf.fast.dropout import TFDropout
from deberta_tf.fast.padding import Places, pack, unpack
from deberta_tf.layers import Module, linear, shape_of


class Relative(NamedTuple):
    """What the attention reads of relative positions, made once per forward.

    Attributes:
        rows: relative embeddings, ``[R, H]``.
        columns: row for each distance from ``Q-1`` down to ``1-K``, int ``[Q+K-1]``.
        first: place of ``rows`` in the whole table.
        reach: distance from which on all share a row, on either side.
    """

    rows: tf.Tensor
    columns: tf.Tensor
    first: int | tf.Tensor
    reach: int

    def of_whole(self) -> Relative:
        """The same for a reader of the whole table: columns count its rows."""
        return self._replace(columns=self.columns + self.first, first=0)


class Mask(NamedTuple):
    """What a batch hides: a query sees a key that ``keys`` shows it, unless the query is blind.

    Attributes:
        keys: bool ``[B, 1, 1 or Q, K]``.
        blind: queries that see nothing, bool ``[B, 1, 1 or Q, 1]``. By itself, so that padding needs nothing of size
            ``Q x K``.
        is_padding: whether tokens are hidden as keys and as queries alike.
        places: of the tokens, if padding is left out of the states.
    """

    keys: tf.Tensor
    blind: tf.Tensor
    is_padding: bool = False
    places: Places | None = None

    def pairs(self) -> tf.Tensor:
        """Which query sees which key, bool ``[B, 1, 1 or Q, K]``."""
        return self.keys & ~self.blind

    def tokens(self) -> tf.Tensor:
        """Tokens that any query may see, bool ``[B, L]``."""
        return tf.reduce_any(self.keys[:, 0], -2)

    def blind_states(self) -> tf.Tensor:
        """Which token states see nothing, bool ``[B, 1 or L, 1]``, or ``[1, T, 1]`` without padding."""
        return self.blind[:, 0] if self.places is None else self.places.blind


class Heads(NamedTuple):
    """Projected states of one layer, split into heads; ``query`` and ``pos_query`` are already scaled.

    Heads come first, so that a product with a table of positions is one for all texts.

    Attributes:
        query: ``[N, B, Q, D]``.
        key: ``[N, B, K, D]``.
        value: ``[N, B, K, D]``.
        pos_key: relative keys for the content-to-position term, ``[R, N, D]``, or ``None``.
        pos_query: relative queries for the position-to-content term, ``[R, N, D]``, or ``None``.
    """

    query: tf.Tensor
    key: tf.Tensor
    value: tf.Tensor
    pos_key: tf.Tensor | None
    pos_query: tf.Tensor | None


CHEAP = 4  # products per row of the table up to which a product costs less than copying one that is there


def skew(wide: tf.Tensor, width: int) -> tf.Tensor:
    """Shift row ``i`` of ``[..., M, M+width-1]`` left by ``M-1-i`` and keep ``width`` columns.

    By ``tf.slice``, whose gradient pads; that of Python's slices fills the result twice, element by element.
    """
    *batch, rows, columns = shape_of(wide)
    none = [0] * len(batch)
    step = columns - (int(rows > 1) if isinstance(rows, int) else tf.cast(rows > 1, tf.int32))  # a single row stays
    flat = tf.slice(tf.reshape(wide, [*batch, rows * columns]), [*none, rows - 1], [*batch, rows * step])
    return tf.slice(tf.reshape(flat, [*batch, rows, step]), [*none, 0, 0], [*batch, rows, width])  # [..., M, width]


def products_by_distance(states: tf.Tensor, positions: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Product of each state with the row of each distance; of long inputs, with each row once, then copied.

    Args:
        states: ``[N, B, M, D]``.
        positions: ``[R, N, D]``.
        columns: row of ``positions`` for each distance, int ``[W]``.

    Returns:
        ``[B, N, M, W]``.
    """

    def rows_first() -> tf.Tensor:
        return tf.einsum("nbmd,wnd->bnmw", states, tf.gather(positions, columns))

    def products_first() -> tf.Tensor:
        return tf.gather(tf.einsum("nbmd,rnd->bnmr", states, positions), columns, axis=-1)

    (distances,), rows = shape_of(columns), shape_of(positions)[0]
    is_short = distances <= CHEAP * rows
    if isinstance(is_short, bool):
        return rows_first() if is_short else products_first()
    return tf.cond(is_short, rows_first, products_first)


def position_scores(heads: Heads, relative: Relative | None) -> tf.Tensor | None:
    """The content-to-position and position-to-content terms, ``[B, N, Q, K]``; ``None`` if the model has neither."""
    if relative is None:
        return None
    scores, columns = None, relative.columns
    queries, keys = shape_of(heads.query)[2], shape_of(heads.key)[2]
    if heads.pos_key is not None:  # what a query makes of the place of a key: Q_i . K_r[delta(i, j)]
        scores = skew(products_by_distance(heads.query, heads.pos_key, columns), keys)  # [B, N, Q, K]
    if heads.pos_query is not None:  # what its place makes of a key: K_j . Q_r[delta(i, j)], computed key by key
        p2c = skew(products_by_distance(heads.key, heads.pos_query, columns[::-1]), queries)  # [B, N, K, Q]
        scores = tf.linalg.matrix_transpose(p2c) if scores is None else scores + tf.linalg.matrix_transpose(p2c)
    return scores


class DisentangledSelfAttention(Module):
    """Everything but the projections, which differ between the families.

    Args:
        config: the model's config.
    """

    def __init__(self, config: BaseConfig, layer: int, name: str = "self") -> None:
        super().__init__(name=name)
        self.config = config
        self.num_heads = config.num_attention_heads - len(config.pruned_heads.get(layer, ()))
        self.head_size = config.head_size
        self.width = self.num_heads * self.head_size
        # 1 / sqrt(D f): a sum of f terms varies f times as much as one (section 3.1, equation 4).
        self.scale = (self.head_size * config.score_terms) ** -0.5
        self.c2p, self.p2c, self.mixes_heads = config.c2p, config.p2c, config.mixes_heads
        self.pos_dropout = TFDropout(config.hidden_dropout_prob, name="pos_dropout")
        self.dropout = TFDropout(config.attention_probs_dropout_prob)

    def project(self, hidden: tf.Tensor, query_states: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Query ``[B, Q, N*D]``, key and value ``[B, K, N*D]``."""
        raise NotImplementedError("a family's projections")

    def project_positions(self, rows: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """Relative keys and relative queries, ``[R, N*D]`` each, or ``None`` for a term the model lacks."""
        raise NotImplementedError("a family's projections")

    def split_heads(self, states: tf.Tensor) -> tf.Tensor:
        """``[B, L, N*D]`` -> ``[N, B, L, D]``."""
        split = tf.reshape(states, [*shape_of(states)[:-1], self.num_heads, self.head_size])  # [B, L, N, D]
        return tf.transpose(split, [2, 0, 1, 3])

    def heads(
        self,
        hidden: tf.Tensor,
        query_states: tf.Tensor,
        relative: Relative | None,
        places: Places | None = None,
        training: bool | None = None,
    ) -> Heads:
        """Project and split; the scale is in the queries, so that no product leaves the range of half precision."""
        query, key, value = (self.split_heads(unpack(x, places)) for x in self.project(hidden, query_states))
        if relative is None:
            return Heads(query * self.scale, key, value, None, None)
        pos_key, pos_query = self.project_positions(self.pos_dropout(relative.rows, training=training))
        split = [-1, self.num_heads, self.head_size]
        return Heads(
            query * self.scale,
            key,
            value,
            None if pos_key is None else tf.reshape(pos_key, split),
            None if pos_query is None else tf.reshape(pos_query, split) * self.scale,
        )

    def call(
        self,
        hidden: tf.Tensor,
        mask: Mask | None,
        relative: Relative | None,
        query_states: tf.Tensor | None = None,
        output_attentions: bool = False,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Mix values by attention.

        Args:
            hidden: states that keys and values are made of, ``[B, K, H]``, or ``[1, T, H]`` if the mask has places.
            mask: what queries see; ``None``: everything.
            relative: relative positions, or ``None`` for a model without.
            query_states: states that queries are made of, ``[B, Q, H]``; default ``hidden``.
            output_attentions: also return the probabilities.
            training: whether dropout acts.

        Returns:
            Context ``[B, Q, N*D]``, zero for a query that sees nothing (unless ``config.masked_rows`` is ``uniform``),
            or ``[1, T, N*D]``, and probabilities ``[B, N, Q, K]`` or ``None``.
        """
        places = None if mask is None else mask.places
        queries = hidden if query_states is None else query_states
        heads = self.heads(hidden, queries, relative, places, training=training)
        attend = ATTENTIONS[self.choose(output_attentions)]
        context, probs = attend(self, heads, relative, mask, training)  # [B, Q, N, D]
        context = tf.reshape(context, [*shape_of(context)[:2], self.width])  # [B, Q, N*D]
        return pack(context, places), probs if output_attentions else None

    def choose(self, output_attentions: bool) -> str:
        """The implementation for this call: the one asked for, or the one that can give what was asked.

        TensorFlow has no attention of its own that takes a bias: "sdpa" and "flex" are computed by blocks, too.
        """
        if output_attentions or self.mixes_heads or self.config.masked_rows == "uniform":
            return "eager"  # the only one that holds the probabilities of every row
        return "eager" if self.config.attn_implementation == "eager" else "blocked"

    def mix_logits(self, scores: tf.Tensor) -> tf.Tensor:
        """Mix scores ``[B, N, Q, K]`` over heads; here not at all."""
        return scores

    def mix_probs(self, probs: tf.Tensor) -> tf.Tensor:
        """Mix probabilities ``[B, N, Q, K]`` over heads; here not at all."""
        return probs


class FusedSelfAttention(DisentangledSelfAttention):
    """Projections of v1: one matrix whose rows are query, key and value of the first head, then of the next."""

    def __init__(self, config: BaseConfig, layer: int, name: str = "self") -> None:
        super().__init__(config, layer, name=name)
        hidden, deviation = config.hidden_size, config.initializer_range
        with tf.name_scope(name):
            self.in_proj = linear(hidden, 3 * self.width, deviation, name="in_proj", bias=False)
            self.q_bias = self.add_weight("q_bias", (self.width,), initializer="zeros")
            self.v_bias = self.add_weight("v_bias", (self.width,), initializer="zeros")
            if config.mixes_heads:
                heads = self.num_heads
                self.head_logits_proj = linear(heads, heads, deviation, name="head_logits_proj", bias=False)
                self.head_weights_proj = linear(heads, heads, deviation, name="head_weights_proj", bias=False)
            if config.c2p:
                self.pos_proj = linear(hidden, self.width, deviation, name="pos_proj", bias=False)
            if config.p2c:
                self.pos_q_proj = linear(hidden, self.width, deviation, name="pos_q_proj")

    def project(self, hidden: tf.Tensor, query_states: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Query ``[B, Q, N*D]``, key and value ``[B, K, N*D]``."""
        # Interleaved by head, [N, 3, D], as the published files are: not three blocks one after the other.
        query, key, value = self.split_fused(self.in_proj(hidden))
        if query_states is not hidden:
            query, _, _ = self.split_fused(self.in_proj(query_states))
        return query + tf.cast(self.q_bias, query.dtype), key, value + tf.cast(self.v_bias, value.dtype)

    def split_fused(self, fused: tf.Tensor) -> list[tf.Tensor]:
        """``[B, L, 3*N*D]``, interleaved by head -> three of ``[B, L, N*D]``."""
        batch, length, _ = shape_of(fused)
        split = tf.reshape(fused, [batch, length, self.num_heads, 3, self.head_size])
        return [tf.reshape(part, [batch, length, self.width]) for part in tf.unstack(split, axis=3)]

    def project_positions(self, rows: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """Relative keys and relative queries, ``[R, N*D]`` each, or ``None`` for a term the model lacks."""
        pos_key = self.pos_proj(rows) if self.c2p else None
        pos_query = self.pos_q_proj(rows) if self.p2c else None
        return pos_key, pos_query

    def mix_logits(self, scores: tf.Tensor) -> tf.Tensor:
        """Talking heads before the softmax."""
        if not hasattr(self, "head_logits_proj"):
            return scores
        return tf.einsum("bnqk,nm->bmqk", scores, tf.cast(self.head_logits_proj.kernel, scores.dtype))

    def mix_probs(self, probs: tf.Tensor) -> tf.Tensor:
        """Talking heads after the softmax."""
        if not hasattr(self, "head_weights_proj"):
            return probs
        return tf.einsum("bnqk,nm->bmqk", probs, tf.cast(self.head_weights_proj.kernel, probs.dtype))


class SeparateSelfAttention(DisentangledSelfAttention):
    """Projections of v2 and v3: one each for query, key and value, shared with the positions or not."""

    def __init__(self, config: BaseConfig, layer: int, name: str = "self") -> None:
        super().__init__(config, layer, name=name)
        hidden, deviation = config.hidden_size, config.initializer_range
        self.shared = config.shares_projections
        with tf.name_scope(name):
            self.query_proj = linear(hidden, self.width, deviation, name="query_proj")
            self.key_proj = linear(hidden, self.width, deviation, name="key_proj")
            self.value_proj = linear(hidden, self.width, deviation, name="value_proj")
            if config.c2p and not self.shared:
                self.pos_key_proj = linear(hidden, self.width, deviation, name="pos_key_proj")
            if config.p2c and not self.shared:
                self.pos_query_proj = linear(hidden, self.width, deviation, name="pos_query_proj")

    def project(self, hidden: tf.Tensor, query_states: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Query ``[B, Q, N*D]``, key and value ``[B, K, N*D]``."""
        return self.query_proj(query_states), self.key_proj(hidden), self.value_proj(hidden)

    def project_positions(self, rows: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """Relative keys and relative queries, ``[R, N*D]`` each, or ``None`` for a term the model lacks."""
        pos_key = pos_query = None
        if self.c2p:
            pos_key = self.key_proj(rows) if self.shared else self.pos_key_proj(rows)
        if self.p2c:
            pos_query = self.query_proj(rows) if self.shared else self.pos_query_proj(rows)
        return pos_key, pos_query


def eager(
    module: DisentangledSelfAttention,
    heads: Heads,
    relative: Relative | None,
    mask: Mask | None,
    training: bool | None = None,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """The reference: scores, softmax in at least float32, dropout, values."""
    scores = tf.einsum("nbqd,nbkd->bnqk", heads.query, heads.key)
    by_position = position_scores(heads, relative)
    if by_position is not None:
        scores = scores + by_position
    scores = module.mix_logits(scores)
    wide = tf.float64 if scores.dtype == tf.float64 else tf.float32
    if mask is None:
        probs = tf.nn.softmax(tf.cast(scores, wide))
    else:
        pairs = mask.pairs()
        # The least finite number, not minus infinity: a row that sees nothing is a mean, not NaN, until it is zero.
        probs = tf.nn.softmax(tf.where(pairs, tf.cast(scores, wide), wide.min))
        if module.config.masked_rows == "zero":
            probs = tf.where(pairs, probs, tf.zeros([], wide))
    probs = module.mix_probs(module.dropout(tf.cast(probs, heads.value.dtype), training=training))
    return tf.einsum("bnqk,nbkd->bqnd", probs, heads.value), probs


Attend = Callable[
    [DisentangledSelfAttention, Heads, Relative | None, Mask | None, bool | None],
    tuple[tf.Tensor, tf.Tensor | None],
]
# The seam: ``encoder.py`` adds the implementations of ``fast/``, which are made of what stands above.
ATTENTIONS: dict[str, Attend] = {"eager": eager}
