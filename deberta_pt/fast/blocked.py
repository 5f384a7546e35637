"""Attention by blocks of queries: exact, with memory linear in the length, forward and backward.

With the rows of a table in the order of their distance, a block of ``M`` queries and ``W`` keys reads a window of
``M + W - 1`` rows, and the products of the block with its window, each row shifted by one against the row before, are
the scores: a view. Relative keys are read from the largest distance down, since distances fall as keys go on, and
relative queries from the smallest up. All far keys of one side share one row, and need a product with that row alone.
Nothing of size ``Q x K`` is kept for long texts: the backward pass computes the scores of each block again.

Shapes: ``B`` batch, ``N`` heads, ``Q`` queries, ``K`` keys, ``D`` head size, ``M`` queries and ``W`` keys of one block.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from deberta_pt.attention import DisentangledSelfAttention, Heads, Mask, Relative, skew
from deberta_pt.fast import routes
from deberta_pt.fast.linear import linear, onednn_wins_alone, race, takes_onednn
from deberta_pt.layers import keep_factors

ROWS = 128  # queries of a block that computes several heads on a CPU
ALONE = 256  # keys from which on each head is a block of its own, where that is faster
ALONE_ROWS = 512  # queries of such a block, or of one on another device, at most
TILE = 64  # keys whose products with relative queries are computed at once, at least
LARGE = 16 << 20  # scores of a block on other devices, which want few kernels that do much
SCORES = 2 << 20  # of a block on a CPU, where fewer heads allow it: then they stay in the cache
FEWEST = 4  # heads of a block, so that there is work for several cores
KEPT = 512  # keys up to which probabilities are kept for the backward pass: half as much as a layer's other states


class Tables(NamedTuple):
    """Relative keys and queries in the order of distance, or the gradients thereof.

    Attributes:
        key: from distance ``up`` down to ``-down``, ``[N, S, D]``, or ``None``.
        query: from distance ``-down`` up to ``up``, of the same shape, or ``None``.
        up: the largest distance.
        down: minus the smallest.
        reach: distance from which on, on either side, all share a row.
    """

    key: Tensor | None
    query: Tensor | None
    up: int
    down: int
    reach: int

    def of(self, heads: slice, first: int, count: int) -> tuple[Tensor | None, Tensor | None]:
        """The rows of so many distances, from ``first`` up, of some heads."""
        of_key, of_query = self.up - first - count + 1, self.down + first
        return (
            None if self.key is None else self.key[heads, of_key : of_key + count],
            None if self.query is None else self.query[heads, of_query : of_query + count],
        )


class Part(NamedTuple):
    """Keys of a block that read the tables in one way.

    Attributes:
        keys: their places in the block, ``W'`` of them.
        pos_key: relative keys, a window ``[N, M+W'-1, D]``, or the one row of all that are far, ``[N, 1, D]``.
        pos_query: relative queries, of the same shape.
        far: whether it is that row.
    """

    keys: slice
    pos_key: Tensor | None
    pos_query: Tensor | None
    far: bool


class BlockTensors(NamedTuple):
    """What the scores of one block are made of, or the gradients thereof.

    Attributes:
        query: ``[N, M, D]``.
        key: ``[N, W, D]``.
        parts: all keys, by what they read of the tables; none for a model without.
    """

    query: Tensor
    key: Tensor
    parts: list[Part]

    def of(self, number: int) -> BlockTensors:
        """Those of one part."""
        part = self.parts[number]
        return BlockTensors(self.query, self.key[:, part.keys], [part])


class Block(NamedTuple):
    """Queries and keys that meet.

    Attributes:
        text: number in the batch.
        heads: those that the block computes.
        rows: the queries.
        keys: the keys.
        mask: bool ``[M or 1, W]``, true where a query sees a key; ``None``: everywhere.
    """

    text: int
    heads: slice
    rows: slice
    keys: slice
    mask: Tensor | None


def of_blocks(mask: Mask | None) -> tuple[Tensor | None, Tensor | None]:
    """A mask as ``blocks`` reads it: of keys, ``[B, 1 or Q, K]``, and blind queries of padding, ``[B, Q]``."""
    if mask is None:
        return None, None
    return mask.keys[:, 0], mask.blind[:, 0, :, 0] if mask.is_padding else None


def is_alone(query: Tensor, keys: int, mask: Tensor | None) -> bool:
    """Whether each head is a block of its own: on processors where linear maps beat the products of many heads.

    Its queries are more, which does not suit packed texts. Arguments as of ``blocks``.
    """
    if keys < ALONE or query.device.type != "cpu" or (mask is not None and mask.shape[1] > 1):
        return False
    return takes_onednn(ALONE, query.dtype) and (query.dtype != torch.float32 or _alone_wins())


@functools.cache
def _alone_wins() -> bool:
    """Whether 512 tokens are computed faster so: a race of a quarter second, held once on a machine."""
    heads, size, length = 12, 64, ALONE_ROWS

    def run() -> bool:
        with torch.inference_mode():
            states = torch.ones(1, heads, length, size, dtype=torch.float32, device="cpu")
            window = torch.ones(heads, 2 * length - 1, size, dtype=torch.float32, device="cpu")
            tables = Tables(window, window, length - 1, length - 1, length)

            def attend(alone: bool) -> Tensor:
                of = blocks(states, length, None, alone=alone)
                return context_of(states, states, states, tables, of, None, None)

            return race([(partial(attend, False), partial(attend, True))]) > 1

    return routes.decide("heads of long texts are computed one by one", run)


def blocks(
    query: Tensor, keys: int, mask: Tensor | None, blind: Tensor | None = None, alone: bool = False
) -> Iterator[Block]:
    """All blocks of queries ``[B, N, Q, D]`` and so many keys that see anything.

    Args:
        query: the queries.
        keys: their number.
        mask: bool ``[B, 1 or Q, K]``.
        blind: bool ``[B, Q]``; blocks begin at a text's first query that sees and end after the last.
        alone: whether each head is a block of its own.
    """
    batch, heads, queries, _ = query.shape
    most = LARGE // heads if query.device.type != "cpu" else SCORES if alone else 0
    step = max(ROWS, min(ALONE_ROWS, most // keys))
    for text in range(batch):
        begin, end = (0, queries) if blind is None else _reach(~blind[text : text + 1])
        for start in range(begin, end, step):
            rows = slice(start, min(start + step, end))
            first, last, seen = 0, keys, None
            if mask is not None:
                seen = mask[text] if mask.shape[1] == 1 else mask[text, rows]  # [M or 1, K]
                if blind is not None:
                    seen = seen & ~blind[text, rows, None]  # hidden ones may stand within a block
                first, last = _reach(seen)
                seen = seen[:, first:last]
            if last > first:
                some = None if seen is None or _all(seen) else seen
                for several in _groups(query, step * (last - first), alone):
                    yield Block(text, several, rows, slice(first, last), some)


def inputs_of(block: Block, query: Tensor, key: Tensor, tables: Tables) -> BlockTensors:
    """The views of queries ``[B, N, Q, D]``, keys ``[B, N, K, D]`` and tables that a block reads."""
    text, heads, rows, keys, _ = block
    parts = [] if tables.key is None and tables.query is None else list(_parts(block, tables))
    return BlockTensors(query[text, heads, rows], key[text, heads, keys], parts)


def _parts(block: Block, tables: Tables) -> Iterator[Part]:
    """The keys of a block: far ones before the queries, near ones, far ones after; few far ones count as near."""
    heads, rows, (start, stop) = block.heads, block.rows, (block.keys.start, block.keys.stop)
    before, after = rows.start - tables.reach + 1, rows.stop - 1 + tables.reach  # far up to the one, from the other on
    first = min(before, stop) if before - start >= TILE else start
    last = max(after, first) if stop - after >= TILE else stop
    near = rows.start - last + 1, rows.stop - rows.start + last - first - 1  # the least distance, number of distances
    parts = (start, first, (tables.up, 1)), (first, last, near), (last, stop, (-tables.down, 1))
    for begin, end, read in parts:
        if end > begin:
            yield Part(slice(begin - start, end - start), *tables.of(heads, *read), read is not near)


def _groups(query: Tensor, scores: int, alone: bool) -> Iterator[slice]:
    """Heads of ``[B, N, Q, D]`` that a block computes, so many scores each: all, but for long texts on a CPU."""
    heads = query.shape[1]
    count = 1 if query.device.type != "cpu" else heads if alone else -(-heads // max(FEWEST, SCORES // scores))
    size = -(-heads // count)  # as even as they can be
    for start in range(0, heads, size):
        yield slice(start, min(start + size, heads))


def _reach(seen: Tensor) -> tuple[int, int]:
    """First true column of ``[M, W]`` and the one after the last; all of them on a device that would have to wait."""
    if seen.device.type != "cpu":
        return 0, seen.shape[1]
    places = seen.any(0).nonzero()
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


def _all(seen: Tensor) -> bool:
    return seen.device.type == "cpu" and bool(seen.all())


def product(states: Tensor, others: Tensor) -> Tensor:
    """``[N, M, I]`` and ``[N, O, I]`` -> ``[N, M, O]``; of a single head by the fastest linear map."""
    if len(states) > 1 or states.device.type != "cpu":
        return torch.bmm(states, others.transpose(1, 2))
    (one,), (other,), by = states, others, linear if onednn_wins_alone() else F.linear
    return (by(other, one).t() if one.stride(0) == 1 else by(one, other))[None]  # reads either as it lies


def tiles(width: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """Tiles that fill ``width`` keys, and the part of a window of relative queries that each and ``rows`` queries read.

    A tile and its products stay in the cache, and are added, skewed, while they are there.
    """
    size = max(TILE, rows // 4)
    for start in range(0, width, size):
        stop = min(start + size, width)
        yield slice(start, stop), slice(width - stop, width - start + rows - 1)


def turned(scores: Tensor) -> Tensor:
    """``[N, W, M]`` -> ``[N, M, W]``, to be added: numbers of two bytes that lie apart are, but one by one."""
    found = scores.transpose(1, 2)
    return found.contiguous() if found.element_size() < 4 else found


def scores_of(inputs: BlockTensors) -> Tensor:
    """Scores of one block, ``[N, M, W]``."""
    query, key, parts = inputs
    scores = product(query, key)
    for keys, pos_key, pos_query, far in parts:
        some, near, rows = scores[:, :, keys], key[:, keys], query.shape[1]
        if pos_key is not None:
            c2p = product(query, pos_key)
            some.add_(c2p if far else skew(c2p, some.shape[2]))
        if pos_query is not None and far:
            some.add_(product(pos_query, near))
        elif pos_query is not None:
            for tile, window in tiles(some.shape[2], rows):
                p2c = skew(product(near[:, tile], pos_query[:, window]), rows)  # [N, tile, M]
                some[:, :, tile].add_(turned(p2c))
    return scores


def scatter_scores(grad: Tensor, inputs: BlockTensors, grads: BlockTensors) -> None:
    """Add the gradients of a block's inputs, given that of its scores.

    Args:
        grad: gradient of the scores, ``[N, M, W]``.
        inputs: what the scores were made of.
        grads: where to add, views of the same shapes.
    """
    grads.query.add_(product(grad, inputs.key.transpose(1, 2)))
    grads.key.add_(product(grad.transpose(1, 2), inputs.query.transpose(1, 2)))
    for i, part in enumerate(inputs.parts):
        scatter = _scatter_far if part.far else _scatter_near
        scatter(grad[:, :, part.keys], inputs.of(i), grads.of(i))


def _scatter_far(grad: Tensor, inputs: BlockTensors, grads: BlockTensors) -> None:
    """The gradients of the position terms of far keys; arguments as above."""
    (part,), (d_part,) = inputs.parts, grads.parts
    if part.pos_key is not None and d_part.pos_key is not None:
        total = grad.sum(2, keepdim=True)  # [N, M, 1]
        grads.query.add_(total * part.pos_key)
        d_part.pos_key.add_(torch.bmm(total.transpose(1, 2), inputs.query))
    if part.pos_query is not None and d_part.pos_query is not None:
        total = grad.sum(1, keepdim=True)  # [N, 1, W']
        grads.key.add_(total.transpose(1, 2) * part.pos_query)
        d_part.pos_query.add_(torch.bmm(total, inputs.key))


def _scatter_near(grad: Tensor, inputs: BlockTensors, grads: BlockTensors) -> None:
    """The gradients of the position terms of near keys; arguments as above."""
    (part,), (d_part,) = inputs.parts, grads.parts
    heads, rows, width = grad.shape
    if part.pos_key is not None and d_part.pos_key is not None:
        wide = grad.new_zeros(heads, rows, rows + width - 1)
        skew(wide, width).copy_(grad)
        grads.query.add_(product(wide, part.pos_key.transpose(1, 2)))
        d_part.pos_key.add_(product(wide.transpose(1, 2), inputs.query.transpose(1, 2)))
    if part.pos_query is not None and d_part.pos_query is not None:
        wide = grad.new_zeros(0)
        for tile, window in tiles(width, rows):
            shape = heads, tile.stop - tile.start, window.stop - window.start
            if wide.shape != shape:  # the next tile of this shape writes the same places
                wide = grad.new_zeros(shape)
            skew(wide, rows).copy_(grad[:, :, tile].transpose(1, 2))
            grads.key[:, tile].add_(product(wide, part.pos_query[:, window].transpose(1, 2)))
            d_part.pos_query[:, window].add_(product(wide.transpose(1, 2), inputs.key[:, tile].transpose(1, 2)))


def probabilities(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax, computed in at least float32, zero where nothing is seen: ``[N, M, W]``."""
    if mask is None:
        return scores.softmax(-1)
    shares = scores.masked_fill_(~mask, torch.finfo(scores.dtype).min).softmax(-1)
    return shares.masked_fill(~mask, 0.0) if shares.requires_grad else shares.masked_fill_(~mask, 0.0)


def context_of(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tables: Tables,
    of: Iterator[Block],
    draw: Callable[[Tensor], Tensor] | None,
    kept: list[Tensor] | None,
) -> Tensor:
    """Context ``[B, N, Q, D]`` of queries ``[B, N, Q, D]`` and keys and values ``[B, N, K, D]``.

    Args:
        query: the queries, scaled.
        key: the keys.
        value: the values.
        tables: relative positions.
        of: the blocks.
        draw: makes the factors of dropout; ``None``: there is none.
        kept: where the probabilities of each block go.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    batch, heads, queries, size = query.shape
    context = query.new_zeros(batch, queries, heads, size).transpose(1, 2)
    for block in of:
        probs = probabilities(scores_of(inputs_of(block, query, key, tables)).to(wide), block.mask)
        if kept is not None:
            kept.append(probs)
        probs = probs if draw is None else probs * draw(probs)
        values = value[block.text, block.heads, block.keys]
        context[block.text, block.heads, block.rows] = product(probs.to(value.dtype), values.transpose(1, 2))
    return context


def _drawing(like: Tensor, dropout: float, seed: int) -> Callable[[Tensor], Tensor] | None:
    """What draws the factors of dropout for one block after the other, the same for the same seed."""
    if not dropout:
        return None
    return partial(keep_factors, rate=dropout, generator=torch.Generator(like.device).manual_seed(seed))


class BlockedAttention(torch.autograd.Function):
    """Context ``[B, N, Q, D]``; see ``blocked``."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        blind: Tensor | None,
        pos_key: Tensor | None,
        pos_query: Tensor | None,
        up: int,
        down: int,
        reach: int,
        dropout: float,
        seed: int,
        keep: bool,
        alone: bool,
    ) -> Tensor:
        """Tensors of ``Heads``, masks, what ``Tables`` holds, rate, seed, whether to keep probabilities, ``alone``."""
        ctx.dropout, ctx.seed, ctx.places, ctx.alone = dropout, seed, (up, down, reach), alone
        tables, of = Tables(pos_key, pos_query, up, down, reach), blocks(query, key.shape[2], mask, blind, alone)
        kept: list[Tensor] = []
        context = context_of(query, key, value, tables, of, _drawing(query, dropout, seed), kept if keep else None)
        ctx.save_for_backward(query, key, value, pos_key, pos_query, mask, blind, *kept)
        return context

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients, block by block, from probabilities kept or computed again."""
        query, key, value, pos_key, pos_query, mask, blind, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():  # of gradients gradients are wanted: autograd records the steps themselves
            given, needed = (query, key, value, pos_key, pos_query), ctx.needs_input_grad
            asked = [x for x, wanted in zip(given, (*needed[:3], *needed[5:7]), strict=True) if wanted]
            tables, of = Tables(pos_key, pos_query, *ctx.places), blocks(query, key.shape[2], mask, blind, ctx.alone)
            context = context_of(query, key, value, tables, of, _drawing(query, ctx.dropout, ctx.seed), None)
            found = iter(torch.autograd.grad(context, asked, grad, create_graph=True, allow_unused=True))
            return tuple(next(found) if wanted else None for wanted in needed)
        again = iter(kept)
        wide = torch.promote_types(query.dtype, torch.float32)

        def zeros(like: Any) -> Any:
            return None if like is None else like.new_zeros(like.shape, dtype=wide)

        totals = tuple(map(zeros, (query, key, value, pos_key, pos_query)))
        d_query, d_key, d_value = totals[:3]
        tables, d_tables = Tables(pos_key, pos_query, *ctx.places), Tables(*totals[3:], *ctx.places)
        draw = _drawing(query, ctx.dropout, ctx.seed)  # the same factors again
        for block in blocks(query, key.shape[2], mask, blind, ctx.alone):
            text, heads, rows, keys, seen = block
            inputs = inputs_of(block, query, key, tables)
            probs = next(again) if kept else probabilities(scores_of(inputs).to(wide), seen)
            grad_context = grad[text, heads, rows]
            grad_probs = product(grad_context, value[text, heads, keys]).to(wide)
            dropped = probs
            if draw is not None:
                factors = draw(probs)
                dropped = probs * factors
                grad_probs *= factors
            dropped = dropped.to(value.dtype).transpose(1, 2)
            d_value[text, heads, keys].add_(product(dropped, grad_context.transpose(1, 2)))
            grad_scores = torch.ops.aten._softmax_backward_data(grad_probs, probs, -1, wide).to(query.dtype)
            scatter_scores(grad_scores, inputs, inputs_of(block, d_query, d_key, d_tables))
        done = [None if total is None else total.to(query.dtype) for total in totals]
        return (*done[:3], None, None, *done[3:], *(None,) * 7)


def tables_of(
    positions: Sequence[Tensor | None], relative: Relative | None, queries: int, keys: int, backwards: bool = False
) -> Tables:
    """Tables for so many queries and keys, of relative keys and relative queries, ``[N, R, D]`` each.

    Relative keys lie ``backwards`` if the last row is first.
    """
    if relative is None:
        return Tables(None, None, 0, 0, 0)
    most = relative.reach + max(ROWS, ALONE_ROWS) + TILE  # what the near keys of a block read
    up, down = min(queries - 1, most), min(keys - 1, most)
    rows = relative.columns[queries - 1 - up : queries + down]  # from distance up to -down
    key, query = positions
    key = None if key is None else key.index_select(1, key.shape[1] - 1 - rows if backwards else rows)
    return Tables(key, None if query is None else query.index_select(1, rows.flip(0)), up, down, relative.reach)


def blocked(
    module: DisentangledSelfAttention, heads: Heads, relative: Relative | None, mask: Mask | None
) -> tuple[Tensor, Tensor | None]:
    """Attention by blocks of queries."""
    positions = [None if x is None else x.transpose(0, 1) for x in (heads.pos_key, heads.pos_query)]
    tables = tables_of(positions, relative, heads.query.shape[2], heads.key.shape[2])
    dropout = module.dropout.p if module.training else 0.0
    keys, (seen, blind) = heads.key.shape[2], of_blocks(mask)
    context = BlockedAttention.apply(
        heads.query,
        heads.key,
        heads.value,
        seen,
        blind,
        *tables,
        dropout,
        int(torch.randint(2**62, (), device="cpu")) if dropout else 0,
        torch.is_grad_enabled() and keys <= KEPT,
        is_alone(heads.query, keys, seen),
    )
    return context, None
