"""Attention by blocks: exact, no products that are not needed, and of long texts no scores that are kept.

Heads come first, so that the states of all texts meet a table in one product. A tile of rows reads a window of a table
in the order of distance; shifted, their products are the scores. Short texts are attended to whole, so many texts and
heads at once that their scores stay in the cache; the blocks stand in the graph one by one. Long texts are attended to
by blocks of queries in a loop, whose backward pass computes each again; all far keys of one side share one row of a
table there, and their terms are columns beside the product of queries and keys. Where the length is unknown while the
graph is traced, it holds the loop, and one block for short texts.

Shapes: ``B`` batch, ``N`` heads, ``Q`` queries, ``K`` keys, ``D`` head size, ``M`` queries of a block, ``T`` rows of a
tile, ``C`` tiles, ``W`` rows of a table: one for each of ``Q+K-1`` distances, and a margin.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from deberta_tf.attention import DisentangledSelfAttention, Heads, Mask, Relative, skew
from deberta_tf.fast.dropout import drop, next_seed
from deberta_tf.layers import is_compiled, shape_of

TILE = 128  # rows that meet one window of a table
FEWEST, MOST = 128, 512  # queries of a block in the loop
SCORES = 3 << 20  # of a block at most, where so few queries allow it: they stay in the cache
ROWS = 256  # queries of a block where the shape is unknown while the graph is traced
WHOLE = 1 << 24  # scores that are held whole there, however many queries a text has
UNROLLED = 1024  # queries up to which texts are attended to whole
BESIDE = 4  # blocks of such texts that share the cache, because a graph runs them beside each other; XLA does not
PARTS = 16  # blocks of such texts, or little more: graphs stay small
TEXTS = 8  # taken for their number where it is unknown
PIECE = 16  # elements from which copying pieces of rows is faster than slicing twice
FUNCTION = "_deberta_attention"  # the name by which a graph keeps it
HIDDEN = -1e30  # added to scores of what is not seen: far below any score, and finite with it


class Tables(NamedTuple):
    """Relative keys and relative queries in the order of distance.

    Attributes:
        pos_key: from the largest distance down, ``[N, W, D]``, or ``None``.
        pos_query: from the smallest distance up, ``[N, W, D]``, or ``None``.
        reach: distance from which on all share the first row of a table, or the last.
        margin: rows more on either side, for ``shift``; where keys are far, they repeat the ends and are read as those.
    """

    pos_key: tf.Tensor | None
    pos_query: tf.Tensor | None
    reach: int
    margin: int


class Tensors(NamedTuple):
    """What all blocks read, heads first.

    Attributes:
        query: ``[N, B, Q, D]``.
        key: ``[N, B, K, D]``.
        value: ``[N, B, K, D]``.
        pos_key: as in ``Tables``, and so are ``pos_query``, ``reach`` and ``margin``.
        bias: zero where a query sees a key, ``HIDDEN`` elsewhere, ``[1, B, 1 or Q, K]``; ``None``: it sees all.
        seed: of dropout, int ``[2]``, or ``None``.
    """

    query: tf.Tensor
    key: tf.Tensor
    value: tf.Tensor
    pos_key: tf.Tensor | None
    pos_query: tf.Tensor | None
    reach: int
    margin: int
    bias: tf.Tensor | None
    seed: tf.Tensor | None = None


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


def total(terms: list[tf.Tensor]) -> tf.Tensor:
    """The sum of terms, added in their order.

    ``tf.add_n`` begins with the term whose memory it can take: another from call to call, and so are the last digits.
    """
    return functools.reduce(tf.add, terms)


def is_one(size: Any) -> bool:
    """Whether a size is known to be one while the graph is traced."""
    return isinstance(size, int) and size == 1


def margin_needed() -> int:
    """That of tables whose products are shifted: XLA reads through slices at no cost and needs none."""
    return int(not is_compiled())


def shift(wide: tf.Tensor, width: Any, margin: int) -> tf.Tensor:
    """Columns ``M-1-i+margin`` to ``M-1-i+margin+width`` of row ``i`` of ``[..., M, M-1+width+2*margin]``.

    With a margin of one, rows follow each other by a multiple of any divisor of ``M`` and ``width``: whole pieces of
    them are copied at once, and nothing else.
    """
    if not margin:
        return skew(wide, width)
    *batch, rows, columns = shape_of(wide)
    piece = math.gcd(rows, width) if isinstance(rows, int) and isinstance(width, int) else 1
    if piece >= PIECE:
        places = (columns - 1) // piece * np.arange(rows)[:, None] + np.arange(rows, rows + width, piece) // piece
        found = pick(tf.reshape(wide, [-1, rows // piece * columns, piece]), places.ravel())
        return tf.reshape(found, [*batch, rows, width])
    none = [0] * len(batch)
    flat = tf.slice(tf.reshape(wide, [*batch, rows * columns]), [*none, rows], [*batch, rows * (columns - 1)])
    return tf.slice(tf.reshape(flat, [*batch, rows, columns - 1]), [*none, 0, 0], [*batch, rows, width])


def pick(rows: tf.Tensor, places: np.ndarray[Any, Any]) -> tf.Tensor:
    """Different rows of ``[X, R, Y]``; its gradient is copied as it is, where that of ``tf.gather`` adds up."""
    origins = np.full(rows.shape[1], len(places))  # beyond the last: a row of zeros
    origins[places] = np.arange(len(places))

    @tf.custom_gradient
    def run(rows: tf.Tensor) -> tuple[tf.Tensor, Any]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.gather(tf.pad(upstream, [[0, 0], [0, 1], [0, 0]]), origins, axis=1)

        return tf.gather(rows, places, axis=1), gradient

    return run(rows)


def by_distance(
    states: tf.Tensor, table: tf.Tensor, start: Any, width: Any, margin: int, tile: int | None = None
) -> tf.Tensor:
    """Products of each state and ``width`` rows of a table, ``[N, C, B, T, width]``, by tiles of ``T`` states.

    Args:
        states: ``[N, B, M, D]``.
        table: ``[N, W, D]``.
        start: row, apart from the margin, that the last of the states meets first; the one before begins a row later.
        width: rows that each meets.
        margin: of the table.
        tile: states of a tile at most; ``None``: all. States beyond ``M`` fill the last tile.
    """
    heads, batch, rows, size = shape_of(states)
    if tile is None or (isinstance(rows, int) and rows <= tile):
        count, tile = 1, rows
    else:
        count = -(-rows // tile)
        tile = -(-rows // count) if isinstance(rows, int) else tile
    columns = tile + width - 1 + 2 * margin
    if is_one(count):
        windows = window(table, start, columns)[:, None]  # [N, 1, columns, D]
    else:
        states = tf.pad(states, [[0, 0], [0, 0], [0, count * tile - rows], [0, 0]])
        places = (start + rows - tile * (1 + tf.range(count)))[:, None] + tf.range(columns)
        windows = tf.gather(table, tf.clip_by_value(places, 0, shape_of(table)[1] - 1), axis=1)
    tiles = tf.reshape(states, [heads, batch, count, tile, size])
    if not (is_one(batch) or is_one(count)):
        tiles = tf.transpose(tiles, [0, 2, 1, 3, 4])
    wide = tf.matmul(tf.reshape(tiles, [heads, count, batch * tile, size]), windows, transpose_b=True)
    return shift(tf.reshape(wide, [heads, count, batch, tile, columns]), width, margin)


def content_to_position(tensors: Tensors, query: tf.Tensor, start: Any, width: Any) -> tf.Tensor:
    """Scores ``[N, B, M, K]`` of queries ``[N, B, M, D]``; ``start`` as above."""
    heads, batch, rows, _ = shape_of(query)
    tile = TILE if is_one(batch) else None  # tiles of several texts would have to be put in order
    found = by_distance(query, tensors.pos_key, start, width, tensors.margin, tile)
    *_, count, _, tile, _ = shape_of(found)
    whole = tf.reshape(found, [heads, batch, count * tile, width])
    return tf.slice(whole, [0, 0, 0, 0], [heads, batch, rows, width])


def position_to_content(tensors: Tensors, key: tf.Tensor, start: Any, width: Any) -> tf.Tensor:
    """Scores ``[N, B, M, K]`` of keys ``[N, B, K, D]``; ``start`` as above."""
    heads, batch, keys, _ = shape_of(key)
    found = by_distance(key, tensors.pos_query, start, width, tensors.margin, TILE)  # [N, C, B, T, M]
    _, count, _, tile, _ = shape_of(found)
    if is_one(batch) or is_one(count):
        turned = tf.transpose(tf.reshape(found, [heads * batch, count * tile, width]), [0, 2, 1])
    else:
        turned = tf.transpose(found, [0, 2, 4, 1, 3])
    whole = tf.reshape(turned, [heads, batch, width, count * tile])
    return tf.slice(whole, [0, 0, 0, 0], [heads, batch, width, keys])


def near_terms(tensors: Tensors, query: tf.Tensor, key: tf.Tensor, first: Any, start: Any) -> list[tf.Tensor]:
    """The position terms of queries ``[N, B, M, D]`` from ``first`` on and keys ``[N, B, K', D]`` from ``start`` on."""
    (queries, keys), (rows, count) = (shape_of(x)[2] for x in tensors[:2]), (shape_of(x)[2] for x in (query, key))
    terms = []
    if tensors.pos_key is not None:
        terms.append(content_to_position(tensors, query, queries - first - rows + start, count))
    if tensors.pos_query is not None:
        terms.append(position_to_content(tensors, key, first - start + keys - count, rows))
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
        of_query.append(tf.matmul(query, ends[:, None], transpose_b=True))
        of_key.append(tf.broadcast_to(sides, [*shape_of(tensors.key)[:3], 2]))
    if tensors.pos_query is not None:
        ends = tf.stack([tensors.pos_query[:, -1], tensors.pos_query[:, 0]], 1)
        of_query.append(tf.ones_like(query[..., :1]))
        terms = tf.matmul(tensors.key, ends[:, None], transpose_b=True)  # [N, B, K, 2]
        of_key.append(tf.reduce_sum(terms * sides, -1, keepdims=True))
    return tf.concat(of_query, -1), tf.concat(of_key, -1)


def terms_of(tensors: Tensors, first: Any, rows: Any) -> list[tf.Tensor]:
    """What adds up to the scores of queries ``first`` to ``first + rows``, or of all where ``rows`` is ``None``.

    Of shape ``[N, B, M, K]`` each; the products of queries and keys, with the terms of far keys, come first.
    """
    query, keys = tensors.query, shape_of(tensors.key)[2]
    if rows is None:
        first, count = 0, keys
    else:
        query, count = rows_of(query, first, rows), smaller(-(-(rows + 2 * tensors.reach) // TILE) * TILE, keys)
    positions = tensors.pos_key is not None or tensors.pos_query is not None
    if not positions or rows is None or (isinstance(count, int) and count == keys):
        near = near_terms(tensors, query, tensors.key, first, 0)
        return [tf.matmul(query, tensors.key, transpose_b=True), *near]
    start = smaller(first - tensors.reach, keys - count)
    start = max(start, 0) if isinstance(start, int) else tf.maximum(start, 0)
    near = total(near_terms(tensors, query, rows_of(tensors.key, start, count), first, start))
    near = tf.roll(tf.pad(near, [[0, 0], [0, 0], [0, 0], [0, keys - count]]), start, -1)
    return [tf.matmul(*with_far_terms(tensors, query, start, count), transpose_b=True), near]


def probabilities(tensors: Tensors, rate: float, first: Any = 0, rows: Any = None, number: int = 0) -> tf.Tensor:
    """Probabilities ``[N, B, M, K]`` of queries ``first`` to ``first + rows``, or of all, after dropout of ``rate``.

    Dropout differs from block to block by their first query, and by their ``number`` where that is the same. The mask
    is added to the first of the terms, and a text by itself has no axis of texts: XLA would otherwise compute the sum,
    or its gradient, anew for each of its readers.
    """
    exact = tf.float64 if tensors.query.dtype == tf.float64 else tf.float32
    terms, bias = [tf.cast(term, exact) for term in terms_of(tensors, first, rows)], tensors.bias
    if bias is not None and bias.shape[2] != 1 and rows is not None:
        bias = rows_of(bias, first, rows)
    by_itself = is_one(tensors.query.shape[1])
    if by_itself:
        terms, bias = [tf.squeeze(term, 1) for term in terms], None if bias is None else tf.squeeze(bias, 1)
    if bias is not None:
        terms[0] += tf.cast(bias, exact)
    probs = tf.cast(tf.nn.softmax(total(terms)), tensors.value.dtype)
    if tensors.seed is not None:
        probs = drop(probs, rate, tf.random.experimental.stateless_fold_in(tensors.seed, first + number))
    return probs[:, None] if by_itself else probs


def context(
    tensors: Tensors, rate: float, training: bool | None, first: Any = 0, rows: Any = None, number: int = 0
) -> tf.Tensor:
    """What ``probabilities`` make of the values, ``[N, B, M, D]``.

    While a graph that trains is traced, it is a function that all blocks of its layers call, traced once for those that
    are alike; it is kept by the graph, and goes with it. XLA is five times slower where it meets such functions.
    """
    if not training or tf.executing_eagerly() or is_compiled():
        return _context(tensors, rate, first, rows, number)
    graph = tf.compat.v1.get_default_graph()
    while getattr(graph, "outer_graph", None) is not None and graph.outer_graph.building_function:
        graph = graph.outer_graph
    if not hasattr(graph, FUNCTION):
        setattr(graph, FUNCTION, tf.function(_context, autograph=False))
    # As tensors, two numbers may differ without another trace.
    return getattr(graph, FUNCTION)(tensors, rate, tf.convert_to_tensor(first), rows, tf.convert_to_tensor(number))


def _context(tensors: Tensors, rate: float, first: Any, rows: Any, number: Any) -> tf.Tensor:
    return tf.matmul(probabilities(tensors, rate, first, rows, number), tensors.value)


def block_rows(tensors: Tensors) -> int:
    """Queries of a block in the loop."""
    heads, batch, keys, _ = shape_of(tensors.key)
    if not all(isinstance(x, int) for x in (heads, batch, keys)):
        return ROWS
    return min(max(SCORES // max(heads * batch * keys, 1) // TILE * TILE, FEWEST), MOST)


def attend_in_loop(tensors: Tensors, rows: Any, rate: float, training: bool | None) -> tf.Tensor:
    """Context of all queries, ``[N, B, Q, D]``, ``rows`` at a time; the last may begin within the one before."""
    heads, batch, queries, size = shape_of(tensors.query)
    rows = smaller(rows, queries)
    count = -(-queries // rows)
    # What can be differentiated; of anything else TensorFlow says that it cannot.
    given = {name: x for name, x in tensors._asdict().items() if tf.is_tensor(x) and x.dtype.is_floating}

    def block(first: tf.Tensor) -> tf.Tensor:
        def run(*values: tf.Tensor) -> tf.Tensor:
            mine = tensors._replace(**dict(zip(given, values, strict=True)))
            return context(mine, rate, training, first, rows)

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


def split(x: tf.Tensor | None, axis: int, total: int | None, size: int | None) -> list[Any]:
    """A tensor in parts of ``size`` along an axis of ``total``, the last may be smaller.

    ``None`` comes as often; where ``size`` is ``None``, there is one part.
    """
    if total is None or size is None:
        return [x]
    sizes = [min(size, total - first) for first in range(0, total, size)] or [0]
    return [x] * len(sizes) if x is None or len(sizes) == 1 else tf.split(x, sizes, axis)


def sizes_of_parts(tensors: Tensors) -> tuple[int, int | None]:
    """Heads and texts that are attended to at once; all texts, if their number is unknown."""
    heads, batch, queries, _ = tensors.query.shape
    pairs, texts = max(queries * tensors.key.shape[2], 1), batch or TEXTS
    scores = max(SCORES if is_compiled() else SCORES // BESIDE, -(-heads * texts * pairs // PARTS))
    some = min(max(scores // (heads * pairs), 1), texts) if batch else texts
    return min(max(scores // (some * pairs), 1), heads), some if batch else None


def attend_in_parts(tensors: Tensors, rate: float, training: bool | None) -> tf.Tensor:
    """Context of all queries, ``[N, B, Q, D]``, some heads of some texts at a time."""
    (heads, batch, *_), (some_heads, texts) = tensors.query.shape, sizes_of_parts(tensors)
    tables = [split(x, 0, heads, some_heads) for x in (tensors.pos_key, tensors.pos_query)]
    by_text = [split(x, 1, batch, texts) for x in (tensors.query, tensors.key, tensors.value, tensors.bias)]
    found: list[list[tf.Tensor]] = []
    for query, key, value, bias in zip(*by_text, strict=True):
        number = sum(map(len, found))
        by_head = [split(x, 0, heads, some_heads) for x in (query, key, value)]
        found.append([])
        for q, k, v, pos_k, pos_q in zip(*by_head, *tables, strict=True):
            part = tensors._replace(query=q, key=k, value=v, pos_key=pos_k, pos_query=pos_q, bias=bias)
            found[-1].append(context(part, rate, training, number=number + len(found[-1])))
    return tf.concat([tf.concat(row, 0) for row in found], 1)


def attend(tensors: Tensors, rate: float = 0.0, training: bool | None = None) -> tf.Tensor:
    """Context of all queries, ``[N, B, Q, D]``."""
    (heads, batch, queries, _), keys, rows = shape_of(tensors.query), shape_of(tensors.key)[2], block_rows(tensors)

    def at_once() -> tf.Tensor:
        return context(tensors, rate, training)

    def in_loop() -> tf.Tensor:
        return attend_in_loop(tensors, rows, rate, training)

    if not (isinstance(queries, int) and isinstance(keys, int)):
        scores = tf.reduce_prod(tf.cast(tf.stack([heads, batch, queries, keys]), tf.int64))
        return tf.cond((tf.maximum(queries, keys) <= rows) | (scores <= WHOLE), at_once, in_loop)
    return attend_in_parts(tensors, rate, training) if max(queries, keys) <= UNROLLED else in_loop()


def bias_of(mask: Mask | None) -> tf.Tensor | None:
    """What a mask of keys adds to the scores, ``[1, B, 1 or Q, K]``."""
    return None if mask is None else tf.where(mask.keys[:, 0], 0.0, HIDDEN)[None]


def tables_of(
    pos_key: tf.Tensor | None, pos_query: tf.Tensor | None, relative: Relative | None, backwards: bool = False
) -> Tables:
    """Tables of relative keys and relative queries, ``[N, R, D]`` each, keys ``backwards`` if the last row is first."""
    if relative is None:
        return Tables(None, None, 0, 0)
    down, margin = relative.columns, margin_needed()
    down = tf.concat([down[:1], down, down[-1:]], 0) if margin else down
    if pos_key is not None:
        pos_key = tf.gather(pos_key, shape_of(pos_key)[1] - 1 - down if backwards else down, axis=1)
    pos_query = None if pos_query is None else tf.gather(pos_query, down[::-1], axis=1)
    return Tables(pos_key, pos_query, relative.reach, margin)


def without_blind(states: tf.Tensor, mask: Mask | None) -> tf.Tensor:
    """Context or probabilities, ``[N, B, Q, D or K]``, zero for queries that see nothing."""
    return states if mask is None else tf.where(mask.blind[:, 0], tf.zeros([], states.dtype), states)


def blocked(
    module: DisentangledSelfAttention,
    heads: Heads,
    relative: Relative | None,
    mask: Mask | None,
    training: bool | None = None,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Attention by blocks."""
    pos_key, pos_query = (None if x is None else tf.transpose(x, [1, 0, 2]) for x in (heads.pos_key, heads.pos_query))
    rate = module.dropout.rate if training else 0.0
    seed = next_seed() if rate else None
    tables = tables_of(pos_key, pos_query, relative)
    tensors = Tensors(heads.query, heads.key, heads.value, *tables, bias_of(mask), seed)
    return tf.transpose(without_blind(attend(tensors, rate, training), mask), [1, 2, 0, 3]), None
