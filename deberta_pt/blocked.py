"""Attention by blocks of queries: exact, with memory linear in the length, forward and backward.

Keys are taken in reverse order. The distance of query ``i`` and the key in place ``j`` is then ``i + j`` up to a
constant, so with the rows of a table in the order of their distance, a block of ``M`` queries and ``W`` keys reads a
window of ``M + W - 1`` rows, and the products of the block with its window hold the scores on their diagonals: a view.
All far keys of one side share one row, and need a product with that row alone. Nothing of size ``Q x K`` is kept for
long texts: the backward pass computes the scores of each block again.

Shapes: ``B`` batch, ``N`` heads, ``Q`` queries, ``K`` keys, ``D`` head size, ``M`` queries and ``W`` keys of one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from deberta_pt.attention import ATTENTIONS, DisentangledSelfAttention, Heads, Mask, Relative
from deberta_pt.dropout import keep_factors

ROWS = 128  # queries of a block
TILE = 64  # keys whose products with relative queries are computed at once
SCORES = 2 << 20  # of a block on a CPU, where fewer heads allow it: then they stay in the cache
FEWEST = 4  # heads of a block, so that there is work for several cores
KEPT = 512  # keys up to which probabilities are kept for the backward pass: half as much as a layer's other states


class Tables(NamedTuple):
    """Relative keys and queries by ascending distance, or the gradients thereof.

    Attributes:
        key: ``[N, S, D]``, or ``None``.
        query: of the same shape, or ``None``.
        zero: the row of distance zero.
        reach: distance from which on all share the last row, or the first.
    """

    key: Tensor | None
    query: Tensor | None
    zero: int
    reach: int


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
        keys: places of the keys, in reverse order.
        mask: bool ``[M or 1, W]``, true where a query sees a key; ``None``: everywhere.
    """

    text: int
    heads: slice
    rows: slice
    keys: slice
    mask: Tensor | None


def diagonals(products: Tensor, width: int) -> Tensor:
    """The view ``[N, M, width]`` of contiguous ``[N, M, M+width-1]`` whose ``[n, m, j]`` is ``products[n, m, m+j]``."""
    count, rows, columns = products.shape
    return products.as_strided((count, rows, width), (rows * columns, columns + 1, 1))


def of_blocks(mask: Mask | None) -> tuple[Tensor | None, Tensor | None]:
    """A mask as ``blocks`` reads it: of keys in reverse order ``[B, 1 or Q, K]``, and of queries ``[B, Q]``."""
    if mask is None:
        return None, None
    return mask.keys[:, 0].flip(-1), None if mask.queries is None else mask.queries[:, 0, :, 0]


def blocks(query: Tensor, keys: int, mask: Tensor | None, asking: Tensor | None = None) -> Iterator[Block]:
    """All blocks of queries ``[B, N, Q, D]`` and so many keys that see anything.

    Args:
        query: the queries.
        keys: their number.
        mask: bool ``[B, 1 or Q, K]``, keys in reverse order.
        asking: bool ``[B, Q]``; blocks begin at a text's first true one and end after the last.
    """
    batch, _, queries, _ = query.shape
    for text in range(batch):
        begin, end = (0, queries) if asking is None else _reach(asking[text : text + 1])
        for start in range(begin, end, ROWS):
            rows = slice(start, min(start + ROWS, end))
            first, last, seen = 0, keys, None
            if mask is not None:
                seen = mask[text] if mask.shape[1] == 1 else mask[text, rows]  # [M or 1, K]
                if asking is not None:
                    seen = seen & asking[text, rows, None]  # hidden ones may stand within a block
                first, last = _reach(seen)
                seen = seen[:, first:last]
            if last > first:
                some = None if seen is None or _all(seen) else seen
                for several in _groups(query, ROWS * (last - first)):
                    yield Block(text, several, rows, slice(first, last), some)


def inputs_of(block: Block, query: Tensor, key: Tensor, tables: Tables) -> BlockTensors:
    """The views of queries ``[B, N, Q, D]``, keys ``[B, N, K, D]`` and tables that a block reads."""
    text, heads, rows, keys, _ = block
    parts = [] if tables.key is None and tables.query is None else list(_parts(block, key.shape[2], tables))
    return BlockTensors(query[text, heads, rows], key[text, heads, keys], parts)


def _parts(block: Block, keys: int, tables: Tables) -> Iterator[Part]:
    """The keys of a block: far ones after the queries, near ones, far ones before; few far ones count as near."""
    rows, (start, stop) = block.rows, (block.keys.start, block.keys.stop)
    after, before = keys - rows.stop - tables.reach + 1, keys - 1 + tables.reach - rows.start  # places: up to, and from
    first = min(after, stop) if after - start >= TILE else start
    last = max(before, first) if stop - before >= TILE else stop
    window = tables.zero + rows.start + first - (keys - 1)
    near = slice(window, window + rows.stop - rows.start + last - first - 1)
    for begin, end, read in ((start, first, slice(0, 1)), (first, last, near), (last, stop, slice(-1, None))):
        if end > begin:
            pos_key, pos_query = (None if x is None else x[block.heads, read] for x in (tables.key, tables.query))
            yield Part(slice(begin - start, end - start), pos_key, pos_query, read is not near)


def _groups(query: Tensor, scores: int) -> Iterator[slice]:
    """Heads of ``[B, N, Q, D]`` that a block computes, so many scores each: all, but for long texts on a CPU."""
    heads = query.shape[1]
    count = -(-heads // max(FEWEST, SCORES // scores)) if query.device.type == "cpu" else 1
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


def tiles(width: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """Tiles that fill ``width`` keys, and the part of a block's window that each and ``rows`` queries read.

    A tile and its products stay in the cache, and their diagonals are added while they are there.
    """
    for start in range(0, width, TILE):
        stop = min(start + TILE, width)
        yield slice(start, stop), slice(start, stop + rows - 1)


def scores_of(inputs: BlockTensors) -> Tensor:
    """Scores of one block, ``[N, M, W]``."""
    query, key, parts = inputs
    if not parts:
        return torch.bmm(query, key.transpose(1, 2))
    rows, nothing = query.shape[1], query.new_zeros(1, 1, 1)
    scores = query.new_empty(*query.shape[:2], key.shape[1])
    for keys, pos_key, pos_query, far in parts:
        some = scores[:, :, keys]
        c2p = nothing if pos_key is None else torch.bmm(query, pos_key.transpose(1, 2))
        if far:  # [N, M, 1] + [N, 1, W']
            p2c = nothing if pos_query is None else torch.bmm(pos_query, key[:, keys].transpose(1, 2))
            torch.add(c2p.expand_as(some), p2c, out=some)
        else:
            some.copy_(c2p if pos_key is None else diagonals(c2p, some.shape[2]))
    scores.baddbmm_(query, key.transpose(1, 2))
    for keys, _, pos_query, far in parts:
        if pos_query is not None and not far:
            some, near = scores[:, :, keys], key[:, keys]
            for tile, window in tiles(some.shape[2], rows):
                p2c = diagonals(torch.bmm(near[:, tile], pos_query[:, window].transpose(1, 2)), rows)  # [N, tile, M]
                some[:, :, tile].add_(p2c.transpose(1, 2))
    return scores


def scatter_scores(grad: Tensor, inputs: BlockTensors, grads: BlockTensors) -> None:
    """Add the gradients of a block's inputs, given that of its scores.

    Args:
        grad: gradient of the scores, ``[N, M, W]``.
        inputs: what the scores were made of.
        grads: where to add, views of the same shapes.
    """
    grads.query.add_(torch.bmm(grad, inputs.key))
    grads.key.add_(torch.bmm(grad.transpose(1, 2), inputs.query))
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
        diagonals(wide, width).copy_(grad)
        grads.query.add_(torch.bmm(wide, part.pos_key))
        d_part.pos_key.add_(torch.bmm(wide.transpose(1, 2), inputs.query))
    if part.pos_query is not None and d_part.pos_query is not None:
        whole = grad.new_zeros(heads, TILE, TILE + rows - 1)  # zero but for its diagonals, for one tile after the other
        for tile, window in tiles(width, rows):
            count = tile.stop - tile.start
            diagonals(whole, rows)[:, :count].copy_(grad[:, :, tile].transpose(1, 2))
            wide = whole[:, :count, : count + rows - 1]
            grads.key[:, tile].add_(torch.bmm(wide, part.pos_query[:, window]))
            d_part.pos_query[:, window].add_(torch.bmm(wide.transpose(1, 2), inputs.key[:, tile]))


def probabilities(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax in at least float32, zero where nothing is seen: ``[N, M, W]``."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is None:
        return scores.softmax(-1)
    return scores.masked_fill_(~mask, torch.finfo(scores.dtype).min).softmax(-1).masked_fill_(~mask, 0.0)


class BlockedAttention(torch.autograd.Function):
    """Context ``[B, N, Q, D]`` of heads whose keys, values and mask are in reverse order; see ``blocked``."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        asking: Tensor | None,
        pos_key: Tensor | None,
        pos_query: Tensor | None,
        zero: int,
        reach: int,
        dropout: float,
        seed: int,
        keep: bool,
    ) -> Tensor:
        """Tensors of ``Heads``, masks, what ``Tables`` holds, rate, seed, whether to keep the probabilities."""
        ctx.dropout, ctx.seed, ctx.places = dropout, seed, (zero, reach)
        tables = Tables(pos_key, pos_query, zero, reach)
        kept: list[Tensor] = []
        batch, heads, queries, size = query.shape
        context = query.new_zeros(batch, queries, heads, size).transpose(1, 2)
        generator = torch.Generator(query.device).manual_seed(seed)
        for block in blocks(query, key.shape[2], mask, asking):
            probs = probabilities(scores_of(inputs_of(block, query, key, tables)), block.mask)
            if keep:
                kept.append(probs)
            if dropout:
                probs = probs * keep_factors(probs, dropout, generator)
            values = value[block.text, block.heads, block.keys]
            context[block.text, block.heads, block.rows] = torch.bmm(probs.to(value.dtype), values)
        ctx.save_for_backward(query, key, value, pos_key, pos_query, mask, asking, *kept)
        return context

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients, block by block, from probabilities kept or computed again."""
        query, key, value, pos_key, pos_query, mask, asking, *kept = ctx.saved_tensors
        again = iter(kept)
        wide = torch.promote_types(query.dtype, torch.float32)

        def zeros(like: Any) -> Any:
            return None if like is None else like.new_zeros(like.shape, dtype=wide)

        totals = tuple(map(zeros, (query, key, value, pos_key, pos_query)))
        d_query, d_key, d_value = totals[:3]
        tables, d_tables = Tables(pos_key, pos_query, *ctx.places), Tables(*totals[3:], *ctx.places)
        generator = torch.Generator(query.device).manual_seed(ctx.seed)  # the same factors again
        for block in blocks(query, key.shape[2], mask, asking):
            text, heads, rows, keys, seen = block
            inputs = inputs_of(block, query, key, tables)
            probs = next(again) if kept else probabilities(scores_of(inputs), seen)
            grad_context = grad[text, heads, rows]
            grad_probs = torch.bmm(grad_context, value[text, heads, keys].transpose(1, 2)).to(wide)
            dropped = probs
            if ctx.dropout:
                factors = keep_factors(probs, ctx.dropout, generator)
                dropped = probs * factors
                grad_probs *= factors
            d_value[text, heads, keys].add_(torch.bmm(dropped.to(value.dtype).transpose(1, 2), grad_context))
            grad_scores = torch.ops.aten._softmax_backward_data(grad_probs, probs, -1, wide).to(query.dtype)
            scatter_scores(grad_scores, inputs, inputs_of(block, d_query, d_key, d_tables))
        done = [None if total is None else total.to(query.dtype) for total in totals]
        return (*done[:3], None, None, *done[3:], *(None,) * 5)


def tables_of(positions: Sequence[Tensor | None], relative: Relative | None, queries: int, keys: int) -> Tables:
    """Tables for so many queries and keys, of relative keys and relative queries, ``[N, R, D]`` each."""
    if relative is None:
        return Tables(None, None, 0, 0)
    most = relative.reach + ROWS + TILE  # what the near keys of a block read
    down, up = min(keys - 1, most), min(queries - 1, most)
    rows = relative.columns[queries - 1 - up : queries + down].flip(0)  # ascending, from -down to up
    pos_key, pos_query = (None if x is None else x.index_select(1, rows) for x in positions)
    return Tables(pos_key, pos_query, down, relative.reach)


def blocked(
    module: DisentangledSelfAttention, heads: Heads, relative: Relative | None, mask: Mask | None
) -> tuple[Tensor, Tensor | None]:
    """Attention by blocks of queries."""
    positions = [None if x is None else x.transpose(0, 1) for x in (heads.pos_key, heads.pos_query)]
    tables = tables_of(positions, relative, heads.query.shape[2], heads.key.shape[2])
    dropout = module.dropout.p if module.training else 0.0
    context = BlockedAttention.apply(
        heads.query,
        heads.key.flip(2),
        heads.value.flip(2),
        *of_blocks(mask),
        *tables,
        dropout,
        int(torch.randint(2**62, ())) if dropout else 0,
        torch.is_grad_enabled() and heads.key.shape[2] <= KEPT,
    )
    return context, None


ATTENTIONS["blocked"] = blocked
