"""Attention by blocks of queries: exact, no products that are not needed, and of long texts no scores that are kept.

Heads come first, so that the states of all texts meet a table in one product without a copy. A block of ``M`` queries
reads a window of a table in the order of distance, and so does each tile of keys; skewed, their products are the
scores. All far keys of one side share one row of a table: their terms are columns beside the product of queries and
keys. The blocks of short texts stand in the graph one by one; others run in a loop, whose backward pass computes each
again. Where the length is unknown while the graph is traced, it holds the loop, and one block for short texts.

Shapes: ``B`` batch, ``N`` heads, ``Q`` queries, ``K`` keys, ``D`` head size, ``M`` queries of a block, ``T`` keys of a
tile, ``W = Q+K-1`` distances.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from deberta_tf.attention import ATTENTIONS, DisentangledSelfAttention, Heads, Mask, Relative, skew
from deberta_tf.layers import next_seed, shape_of

TILE = 128  # keys whose products with relative queries are computed at once
FEWEST, MOST = 128, 512  # queries of a block
SCORES = 3 << 20  # of a block at most, where so few queries allow it: they stay in the cache
ROWS = 256  # queries of a block where the shape is unknown while the graph is traced
UNROLLED = 1024  # queries up to which the graph holds each block
HIDDEN = -1e30  # added to scores of what is not seen: far below any score, and finite with it


class Tensors(NamedTuple):
    """What all blocks read, heads first.

    Attributes:
        query: ``[N, B, Q, D]``.
        key: ``[N, B, K, D]``.
        value: ``[N, B, K, D]``.
        pos_key: relative keys from the largest distance down, ``[N, W, D]``, or ``None``.
        pos_query: relative queries from the smallest distance up, ``[N, W, D]``, or ``None``.
        bias: zero where a query sees a key, ``HIDDEN`` elsewhere, ``[1, B, 1 or Q, K]``; ``None``: it sees all.
        seed: of dropout, int ``[2]``, or ``None``.
        reach: distance from which on all share the first row of a table, or the last.
    """

    query: tf.Tensor
    key: tf.Tensor
    value: tf.Tensor
    pos_key: tf.Tensor | None
    pos_query: tf.Tensor | None
    bias: tf.Tensor | None
    seed: tf.Tensor | None
    reach: int


def smaller(one: Any, other: Any) -> Any:
    """The smaller of two numbers, known or not while the graph is traced."""
    return min(one, other) if isinstance(one, int) and isinstance(other, int) else tf.minimum(one, other)


def window(table: tf.Tensor, start: Any, size: Any) -> tf.Tensor:
    """Rows ``start`` to ``start + size`` of ``[N, W, D]``; those before the first and after the last repeat it."""
    heads, rows, width = shape_of(table)
    if all(isinstance(x, int) for x in (start, size, rows)) and start >= 0 and start + size <= rows:
        return tf.slice(table, [0, start, 0], [heads, size, width])
    return tf.gather(table, tf.clip_by_value(start + tf.range(size), 0, rows - 1), axis=1)


def rows_of(states: tf.Tensor, first: Any, rows: Any) -> tf.Tensor:
    """Rows ``first`` to ``first + rows`` of axis 2; XLA wants their number apart from their place."""
    one, two, _, last = shape_of(states)
    return tf.slice(states, [0, 0, first, 0], [one, two, rows, last])


def products(states: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """``[N, B, M, D]`` and ``[N, S, D]`` -> ``[N, B, M, S]``, one product for all texts."""
    heads, batch, rows, size = shape_of(states)
    found = tf.matmul(tf.reshape(states, [heads, batch * rows, size]), table, transpose_b=True)
    return tf.reshape(found, [heads, batch, rows, shape_of(table)[1]])


def tiled_products(key: tf.Tensor, table: tf.Tensor, first: Any, rows: Any) -> tf.Tensor:
    """The position-to-content scores of queries ``first`` to ``first + rows``, ``[N, B, rows, K]``, by tiles of keys.

    Args:
        key: ``[N, B, K, D]``.
        table: relative queries by ascending distance, ``[N, W, D]``.
        first: the first query.
        rows: queries of the block.
    """
    heads, batch, keys, size = shape_of(key)
    count = -(-keys // TILE)
    key = tf.pad(key, [[0, 0], [0, 0], [0, count * TILE - keys], [0, 0]])
    tiles = tf.transpose(tf.reshape(key, [heads, batch, count, TILE, size]), [0, 2, 1, 3, 4])
    starts = first + keys - TILE * (1 + tf.range(count))
    places = starts[:, None] + tf.range(rows + TILE - 1)  # [count, M+T-1]; below zero for padding alone
    windows = tf.gather(table, tf.clip_by_value(places, 0, shape_of(table)[1] - 1), axis=1)  # [N, count, M+T-1, D]
    wide = tf.matmul(tf.reshape(tiles, [heads, count, batch * TILE, size]), windows, transpose_b=True)
    p2c = skew(tf.reshape(wide, [heads, count, batch, TILE, rows + TILE - 1]), rows)  # [N, count, B, T, M]
    scores = tf.reshape(tf.transpose(p2c, [0, 2, 4, 1, 3]), [heads, batch, rows, count * TILE])
    return tf.slice(scores, [0, 0, 0, 0], [heads, batch, rows, keys])


def transposed_products(key: tf.Tensor, table: tf.Tensor, queries: Any) -> tf.Tensor:
    """The position-to-content scores of all ``queries`` at once, ``[N, B, Q, K]``; arguments as above."""
    heads, batch, keys, _ = shape_of(key)
    p2c = tf.reshape(skew(products(key, table), queries), [heads * batch, keys, queries])
    return tf.reshape(tf.transpose(p2c, [0, 2, 1]), [heads, batch, queries, keys])


def near_terms(tensors: Tensors, query: tf.Tensor, key: tf.Tensor, first: Any, start: Any) -> list[tf.Tensor]:
    """The position terms of queries ``[N, B, M, D]`` from ``first`` on and keys ``[N, B, K', D]`` from ``start`` on.

    ``first`` is ``None`` for all of both, whose windows are the tables.
    """
    (queries, keys), (rows, count) = (shape_of(x)[2] for x in tensors[:2]), (shape_of(x)[2] for x in (query, key))
    whole, terms = first is None, []
    if tensors.pos_key is not None:
        table = tensors.pos_key
        near = table if whole else window(table, queries - first - rows + start, rows + count - 1)
        terms.append(skew(products(query, near), count))
    if tensors.pos_query is not None and whole:
        terms.append(transposed_products(key, tensors.pos_query, queries))
    elif tensors.pos_query is not None:
        terms.append(tiled_products(key, tensors.pos_query, first - start + keys - count, rows))
    return terms


def with_far_terms(tensors: Tensors, query: tf.Tensor, start: Any, count: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Queries ``[N, B, M, E]`` and keys ``[N, B, K, E]`` whose products are those of content and the terms of far keys.

    Args:
        tensors: what is attended to.
        query: ``[N, B, M, D]``.
        start: the first key that is near any of these queries.
        count: number of near keys; they get no term here.
    """
    place = tf.range(shape_of(tensors.key)[2])
    sides = tf.cast(tf.stack([place < start, place >= start + count], 1), query.dtype)  # [K, 2]
    of_query, of_key = [query], [tensors.key]
    if tensors.pos_key is not None:
        ends = tf.stack([tensors.pos_key[:, 0], tensors.pos_key[:, -1]], 1)  # of the largest distance, the smallest
        of_query.append(products(query, ends))
        of_key.append(tf.broadcast_to(sides, [*shape_of(tensors.key)[:3], 2]))
    if tensors.pos_query is not None:
        ends = tf.stack([tensors.pos_query[:, -1], tensors.pos_query[:, 0]], 1)
        of_query.append(tf.ones_like(query[..., :1]))
        of_key.append(tf.reduce_sum(products(tensors.key, ends) * sides, -1, keepdims=True))
    return tf.concat(of_query, -1), tf.concat(of_key, -1)


def scores_of(tensors: Tensors, first: Any, rows: Any) -> tf.Tensor:
    """Scores of queries ``first`` to ``first + rows``, or of all where ``rows`` is ``None``, ``[N, B, M, K]``."""
    query, keys = tensors.query, shape_of(tensors.key)[2]
    if rows is None:
        first, count = None, keys
    else:
        query, count = rows_of(query, first, rows), smaller(rows + 2 * tensors.reach, keys)
    positions = tensors.pos_key is not None or tensors.pos_query is not None
    if not positions or rows is None or (isinstance(count, int) and count == keys):
        terms = near_terms(tensors, query, tensors.key, first, 0)
        return sum(terms, tf.matmul(query, tensors.key, transpose_b=True))
    start = smaller(first - tensors.reach, keys - count)
    start = max(start, 0) if isinstance(start, int) else tf.maximum(start, 0)
    near = tf.add_n(near_terms(tensors, query, rows_of(tensors.key, start, count), first, start))
    near = tf.roll(tf.pad(near, [[0, 0], [0, 0], [0, 0], [0, keys - count]]), start, -1)
    return tf.matmul(*with_far_terms(tensors, query, start, count), transpose_b=True) + near


def probabilities(tensors: Tensors, rate: float, first: Any = 0, rows: Any = None) -> tf.Tensor:
    """Probabilities ``[N, B, M, K]`` of queries ``first`` to ``first + rows``, or of all, after dropout of ``rate``."""
    scores = scores_of(tensors, first, rows)
    scores = tf.cast(scores, tf.float64 if scores.dtype == tf.float64 else tf.float32)
    if tensors.bias is not None:
        of_all = rows is None or tensors.bias.shape[2] == 1
        bias = tensors.bias if of_all else rows_of(tensors.bias, first, rows)
        scores += tf.cast(bias, scores.dtype)
    probs = tf.cast(tf.nn.softmax(scores), tensors.value.dtype)
    if tensors.seed is None:
        return probs
    seed = tf.random.experimental.stateless_fold_in(tensors.seed, first)
    return tf.nn.experimental.stateless_dropout(probs, rate, seed)


def block_rows(tensors: Tensors) -> int:
    """Queries of a block."""
    heads, batch, keys, _ = shape_of(tensors.key)
    if not all(isinstance(x, int) for x in (heads, batch, keys)):
        return ROWS
    return min(max(SCORES // max(heads * batch * keys, 1) // TILE * TILE, FEWEST), MOST)


def attend_in_loop(tensors: Tensors, rows: Any, rate: float, training: bool | None) -> tf.Tensor:
    """Context of all queries, ``[N, B, Q, D]``, ``rows`` at a time; the last may begin within the one before."""
    heads, batch, queries, size = shape_of(tensors.query)
    rows = smaller(rows, queries)
    count = -(-queries // rows)
    given = {name: x for name, x in tensors._asdict().items() if tf.is_tensor(x)}

    def block(first: tf.Tensor) -> tf.Tensor:
        def run(*values: tf.Tensor) -> tf.Tensor:
            mine = tensors._replace(**dict(zip(given, values, strict=True)))
            return tf.matmul(probabilities(mine, rate, first, rows), mine.value)

        return (tf.recompute_grad(run) if training else run)(*given.values())

    blocks = tf.map_fn(
        block,
        tf.minimum(rows * tf.range(count), queries - rows),
        fn_output_signature=tf.TensorSpec(
            [*tensors.query.shape[:2], rows if isinstance(rows, int) else None, size], tensors.query.dtype
        ),
        parallel_iterations=1,
    )  # [count, N, B, M, D]
    whole = tf.transpose(blocks[:-1], [1, 2, 0, 3, 4])
    whole = tf.reshape(whole, [heads, batch, (count - 1) * rows, size])
    return tf.concat([whole, blocks[-1][:, :, count * rows - queries :]], 2)


def attend(tensors: Tensors, rate: float = 0.0, training: bool | None = None) -> tf.Tensor:
    """Context of all queries, ``[N, B, Q, D]``."""
    queries, keys, rows = shape_of(tensors.query)[2], shape_of(tensors.key)[2], block_rows(tensors)

    def at_once() -> tf.Tensor:
        return tf.matmul(probabilities(tensors, rate), tensors.value)

    def in_loop() -> tf.Tensor:
        return attend_in_loop(tensors, rows, rate, training)

    if not (isinstance(queries, int) and isinstance(keys, int)):
        return tf.cond(tf.maximum(queries, keys) <= rows, at_once, in_loop)
    if max(queries, keys) <= rows:
        return at_once()
    if queries > UNROLLED:
        return in_loop()
    parts = [(first, min(rows, queries - first)) for first in range(0, queries, rows)]
    return tf.concat([tf.matmul(probabilities(tensors, rate, *part), tensors.value) for part in parts], 2)


def bias_of(mask: Mask | None) -> tf.Tensor | None:
    """What a mask of keys adds to the scores, ``[1, B, 1 or Q, K]``."""
    return None if mask is None else tf.where(mask.keys[:, 0], 0.0, HIDDEN)[None]


def tensors_of(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    pos_key: tf.Tensor | None,
    pos_query: tf.Tensor | None,
    relative: Relative | None,
    mask: Mask | None,
    seed: tf.Tensor | None = None,
) -> Tensors:
    """What all blocks read, of relative keys and relative queries by row of the table, ``[N, R, D]`` each."""
    reach = 0
    if relative is not None:
        down, reach = relative.columns, relative.reach
        pos_key = None if pos_key is None else tf.gather(pos_key, down, axis=1)
        pos_query = None if pos_query is None else tf.gather(pos_query, down[::-1], axis=1)
    return Tensors(query, key, value, pos_key, pos_query, bias_of(mask), seed, reach)


def without_blind(context: tf.Tensor, mask: Mask | None) -> tf.Tensor:
    """Context ``[B, N, Q, D]``, zero for queries that see nothing."""
    return context if mask is None else context * tf.cast(mask.seeing(), context.dtype)


def blocked(
    module: DisentangledSelfAttention,
    heads: Heads,
    relative: Relative | None,
    mask: Mask | None,
    training: bool | None = None,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Attention by blocks of queries."""
    pos_key, pos_query = (None if x is None else tf.transpose(x, [1, 0, 2]) for x in (heads.pos_key, heads.pos_query))
    rate = module.dropout.rate if training else 0.0
    query, key, value = (tf.transpose(x, [1, 0, 2, 3]) for x in (heads.query, heads.key, heads.value))
    tensors = tensors_of(query, key, value, pos_key, pos_query, relative, mask, next_seed() if rate else None)
    context = tf.transpose(attend(tensors, rate, training), [1, 0, 2, 3])  # [B, N, Q, D]
    return without_blind(context, mask), None


ATTENTIONS["blocked"] = blocked
