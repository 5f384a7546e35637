"""Attention by the Triton kernels of ``kernels.py``, to compilers and autograd an operator of PyTorch's.

What meets the relative table are matrix products, left to PyTorch and its autograd; ``kernels.py`` says in which order
their results lie. Which tiles hold anything is computed on the device, too: no call waits for it.

Shapes: ``B`` batch, ``N`` heads, ``Q`` queries, ``K`` keys, ``D`` head size, ``X`` queries or keys, ``R`` rows of the
relative table, ``S`` distances.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from deberta_pt.attention import DisentangledSelfAttention, Heads, Mask, Relative, sdpa

VECTOR = 16  # rows and columns of tables are multiples of it, so that kernels read whole vectors
LARGEST = 64  # queries or keys of a tile
MOST = 255  # registers of a thread
STEPS = 1 << 16  # probabilities that dropout tells apart
GIVEN = (
    "Tensor query, Tensor key, Tensor value, Tensor? c2p, Tensor? p2c, Tensor? seen, Tensor? of_queries, "
    "Tensor? of_keys, Tensor? seed, int reach, float dropout"
)


class Tile(NamedTuple):
    """Queries and keys of a tile, warps that compute it, tiles fetched ahead, registers that a thread may take.

    Without a number of these, NVIDIA's assembler may take half of them, and spill a few, for more tiles at once.
    """

    queries: int
    keys: int
    warps: int = 4
    stages: int = 2
    registers: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What Triton's compiler is told."""
        limit = {} if self.registers is None or torch.version.hip else {"maxnreg": self.registers}
        return {"num_warps": self.warps, "num_stages": self.stages, "enable_fp_fusion": True, **limit}


class Seen(NamedTuple):
    """A mask as the kernels read it.

    Attributes:
        keys: uint8 ``[B, K]``, or ``[B, Q, K]`` where queries see different ones.
        of_queries: where the keys that a query sees begin and end, int32 ``[2, B, Q]``; ``K`` and 0 if it sees none.
        of_keys: where the queries that see a key begin and end, int32 ``[2, B, K]``; ``Q`` and 0 if none does.
    """

    keys: Tensor
    of_queries: Tensor
    of_keys: Tensor


def tile_of(kernel: str, dtype: torch.dtype, size: int, pairs: bool, dropout: bool) -> Tile:
    """The tile of a kernel for heads of some size, with a mask of ``pairs`` or not: one that spills no registers.

    Found by compiling: ``python -m benchmarks.kernels --check all``. At most ``LARGEST`` a side.
    """
    narrow, wide = size <= 32, size > 64
    if dtype == torch.float32:
        if kernel == "backward_keys":
            if narrow:
                return Tile(16, 32) if pairs and not dropout else Tile(32, 16)
            if dropout and pairs and not wide:
                return Tile(16, 32)
            return Tile(32, 16, warps=8) if dropout != wide else Tile(16, 32, warps=8)
        if wide:
            return Tile(32, 16, warps=8)
        return Tile(32, 32, warps=8, registers=MOST) if narrow or kernel == "forward" else Tile(16, 32, warps=8)
    if kernel == "forward":
        if dropout and not wide:
            return Tile(64, 32, registers=MOST if pairs else None)
        return Tile(64, 64, warps=8 if wide or pairs else 4)
    if kernel == "backward_keys":
        if narrow or wide:
            return Tile(32, 32, warps=8)
        return Tile(32, 32) if dropout else Tile(64, 32)
    return Tile(32, 32) if wide else Tile(64, 32, warps=8 if pairs else 4)


def ends(seen: Tensor) -> Tensor:
    """First true place of ``[B, X, Y]`` and the one after the last, int32 ``[2, B, X]``; ``Y`` and 0 if none is."""
    numbers, size = seen.to(torch.uint8), seen.shape[-1]
    first, last = numbers.argmax(-1), size - numbers.flip(-1).argmax(-1)
    return _unless(~seen.any(-1), torch.stack([first, last]).int(), size)


def _unless(nothing: Tensor, found: Tensor, size: int) -> Tensor:
    """What ``ends`` found, ``[2, B, X or 1]``, but where a bool mask ``[B, X]`` says that there is nothing."""
    return torch.stack([found[0].masked_fill(nothing, size), found[1].masked_fill(nothing, 0)])


def seen_of(mask: Mask, queries: int) -> Seen:
    """What so many queries see; once for all layers."""
    pairs, keys = mask.keys[:, 0], mask.keys.shape[-1]  # [B, 1 or Q, K]
    blind = mask.blind[:, 0].expand(-1, queries, 1)  # [B, Q, 1]
    if pairs.shape[1] > 1:
        pairs = pairs & ~blind
        return Seen(pairs.to(torch.uint8), ends(pairs), ends(pairs.transpose(1, 2)))
    # Padding: a query sees all visible tokens or nothing.
    of_queries = _unless(blind[..., 0], ends(pairs), keys)
    of_keys = _unless(~pairs[:, 0], ends(~blind.transpose(1, 2)), queries)
    return Seen(pairs[:, 0].to(torch.uint8), of_queries, of_keys)


def by_distance(relative: Relative, queries: int, keys: int) -> Tensor:
    """Row of the relative table for each distance from the largest in a table down, int64 ``[S]``."""
    far = relative.reach + 2 * LARGEST  # no pair of a tile that is near one is farther apart
    longest = torch.sym_max(queries, keys)
    most = (torch.sym_min(longest, far) + VECTOR - 1) // VECTOR * VECTOR
    places = torch.arange(2 * most + 1, device=relative.columns.device) + (queries - 1 - most)
    return relative.columns[places.clamp(0, queries + keys - 2)]


def table(states: Tensor, positions: Tensor, rows: Tensor) -> Tensor:
    """Products of states ``[B, N, X, D]`` with positions ``[R, N, D]`` in the order of ``rows`` ``[S]``.

    Returns:
        ``[B, N, X, S]``, with as many ``X`` as fill vectors: the last are zero.
    """
    batch, heads, count, size = states.shape
    # A look-up, since its gradient is summed in one order on CUDA, where that of ``index_select`` is not.
    ordered = F.embedding(rows, positions.flatten(1)).unflatten(1, (heads, size)).permute(1, 2, 0)  # [N, D, S]
    if spare := -count % VECTOR:
        states = F.pad(states.transpose(1, 2), (0, 0, 0, 0, 0, spare)).transpose(1, 2)
    flat = states.transpose(0, 1).reshape(heads, batch * (count + spare), size)
    return torch.bmm(flat, ordered).unflatten(1, (batch, count + spare)).transpose(0, 1)


def skewed(
    module: DisentangledSelfAttention | None, heads: Heads, relative: Relative | None, mask: Mask | None
) -> tuple[Tensor, Tensor | None]:
    """Attention by the kernels, but of float64 by PyTorch's own; without a module there is no dropout."""
    query, key, value = (x if x.stride(-1) == 1 else x.contiguous() for x in heads[:3])
    queries, keys = query.shape[2], key.shape[2]
    if query.dtype == torch.float64:  # which no matrix unit that the kernels are written for multiplies
        return sdpa(module, heads, relative, mask)
    c2p = p2c = None
    if relative is not None:
        rows = by_distance(relative, queries, keys)
        c2p = None if heads.pos_key is None else table(query, heads.pos_key, rows)
        p2c = None if heads.pos_query is None else table(key, heads.pos_query, rows.flip(0))
    seen = (None, None, None) if mask is None else mask.blocks or seen_of(mask, queries)
    rate = module.dropout.p if module is not None and module.training else 0.0
    # On the device, so that a captured graph draws anew each time that it runs.
    seed = torch.randint(2**62, (1,), device=query.device) if rate else None
    reach = 0 if relative is None else relative.reach
    given: tuple[Any, ...] = query, key, value, c2p, p2c
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        # Triton's interpreter takes the bits of bfloat16 for integers when it multiplies matrices.
        given = tuple(None if x is None else x.float() for x in given)
    context, _ = torch.ops.deberta.attention(*given, *seen, seed, reach, rate)
    return context.to(query.dtype), None


def _empty(like: Tensor) -> Tensor:
    """For ``[B, N, X, D]``, in memory ``[B, X, N, D]``, which the rest of a layer reads without a copy."""
    return like.new_empty(like.transpose(1, 2).shape).transpose(1, 2)


def _strides(**tensors: Tensor) -> dict[str, int]:
    """Of batch, head and token, as the kernels name them."""
    return {f"{name}_{axis}": x.stride(i) for name, x in tensors.items() for i, axis in enumerate("bnl")}


def _launch(
    kernel: str, more: dict[str, Any], query: Tensor, key: Tensor, value: Tensor, c2p: Tensor | None,
    p2c: Tensor | None, seen: Tensor | None, ends: Tensor | None, seed: Tensor | None, reach: int, dropout: float,
) -> None:  # fmt: skip
    """Run a kernel: one program for each tile of each head.

    ``more`` are arguments that it alone has, ``ends`` that of ``Seen`` which it reads; others as of ``attention``.
    """
    (batch, heads, queries, size), keys = query.shape, key.shape[2]
    mask = 0 if seen is None else seen.ndim - 1
    tile = tile_of(kernel, query.dtype, size, mask == 2, seed is not None)
    tiles = -(-keys // tile.keys) if kernel == "backward_keys" else -(-queries // tile.queries)
    any_table = c2p if c2p is not None else p2c
    c, p = query if c2p is None else c2p, query if p2c is None else p2c
    device = contextlib.nullcontext() if query.device.type == "cpu" else torch.get_device_module().device(query.device)
    with device:
        getattr(importlib.import_module("deberta_pt.fast.kernels"), kernel)[(tiles * batch * heads,)](
            Q=query, K=key, V=value, C=c, P=p, SEEN=seen, SEED=seed,
            FIRST=None if ends is None else ends[0], LAST=None if ends is None else ends[1],
            **_strides(q=query, k=key, v=value),
            c_b=c.stride(0), c_n=c.stride(1), p_b=p.stride(0), p_n=p.stride(1),
            heads=heads, queries=queries, keys=keys, c_rows=queries + -queries % VECTOR, p_rows=keys + -keys % VECTOR,
            step=0 if any_table is None else any_table.shape[3] - 1, reach=reach, dropped=_dropped(dropout),
            D=size, WIDTH=max(16, 1 << (size - 1).bit_length()), M=tile.queries, N=tile.keys,
            HAS_C=c2p is not None, HAS_P=p2c is not None, MASK=mask,
            DROPOUT=seed is not None, PRECISION=_precision(), **tile.options, **more,
        )  # fmt: skip


def _dropped(rate: float) -> int:
    """In how many of ``STEPS`` cases a probability is dropped."""
    return min(round(rate * STEPS), STEPS - 1)


def _precision() -> str:
    """Of products of float32, as PyTorch is told to compute its own."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


@torch.library.custom_op("deberta::attention", mutates_args=(), schema=f"({GIVEN}) -> (Tensor, Tensor)")
def attention(
    query: Tensor, key: Tensor, value: Tensor, c2p: Tensor | None, p2c: Tensor | None, seen: Tensor | None,
    of_queries: Tensor | None, of_keys: Tensor | None, seed: Tensor | None, reach: int, dropout: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Context, and logarithms of the sums of exponentials.

    Args:
        query: ``[B, N, Q, D]``, scaled; its last axis, as that of all others, in one piece.
        key: ``[B, N, K, D]``.
        value: ``[B, N, K, D]``.
        c2p: what queries make of distances, the largest first, ``[B, N, Q', S]``, see ``table``; ``None``: no term.
        p2c: what keys make of them, the smallest first, ``[B, N, K', S]``, or ``None``.
        seen: ``Seen.keys``; ``None``: nothing is hidden.
        of_queries: ``Seen.of_queries``, or ``None``.
        of_keys: ``Seen.of_keys``, which the backward pass reads, or ``None``.
        seed: of dropout, int64 ``[1]``, or ``None``.
        reach: distance from which on, on either side, all share a row.
        dropout: rate, at least 0 and below 1.

    Returns:
        ``[B, N, Q, D]`` and, to base 2, float32 ``[B, N, Q]``.
    """
    context, lse = _empty(query), query.new_empty(query.shape[:3], dtype=torch.float32)
    given = query, key, value, c2p, p2c, seen, of_queries, seed, reach, dropout
    _launch("forward", {"OUT": context, "LSE": lse, **_strides(o=context)}, *given)
    return context, lse


@attention.register_fake
def _(query: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _empty(query), query.new_empty(query.shape[:3], dtype=torch.float32)


@torch.library.custom_op(
    "deberta::attention_backward",
    mutates_args=(),
    schema=f"(Tensor grad, Tensor context, Tensor lse, {GIVEN}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def attention_backward(
    grad: Tensor, context: Tensor, lse: Tensor, query: Tensor, key: Tensor, value: Tensor, c2p: Tensor | None,
    p2c: Tensor | None, seen: Tensor | None, of_queries: Tensor | None, of_keys: Tensor | None, seed: Tensor | None,
    reach: int, dropout: float,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of the first five inputs of ``attention``, from that of its context; of one that is ``None``, empty."""
    found = d_query, d_key, d_value, d_c2p, d_p2c = _gradients(query, key, value, c2p, p2c)
    grad, delta = grad if grad.stride(-1) == 1 else grad.contiguous(), torch.empty_like(lse)
    both = {"LSE": lse, "GRAD": grad, "DELTA": delta, **_strides(g=grad)}
    of_query = {"OUT": context, "DQ": d_query, "DC": d_c2p, **_strides(o=context)}
    of_key = {"DK": d_key, "DV": d_value, "DP": d_p2c, **_strides(d=d_key)}
    states, position = (query, key, value, c2p, p2c, seen), (seed, reach, dropout)
    _launch("backward_queries", both | of_query, *states, of_queries, *position)
    _launch("backward_keys", both | of_key, *states, of_keys, *position)
    return found


def _gradients(query: Tensor, key: Tensor, value: Tensor, *tables: Tensor | None) -> tuple[Tensor, ...]:
    """Where the kernels write them; a table's lies as the table does."""
    of_tables = [query.new_empty(0) if x is None else torch.empty_like(x) for x in tables]
    return _empty(query), _empty(key), _empty(value), *of_tables


@attention_backward.register_fake
def _(grad: Tensor, context: Tensor, lse: Tensor, *given: Any) -> tuple[Tensor, ...]:
    return _gradients(*given[:5])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.reach, ctx.dropout = inputs
    ctx.save_for_backward(*output, *tensors)


def _differentiate(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    context, lse, *given = ctx.saved_tensors
    found = torch.ops.deberta.attention_backward(grad, context, lse, *given, ctx.reach, ctx.dropout)
    wanted = (None if x is None else gradient for gradient, x in zip(found, given[:5], strict=True))
    return (*wanted, *(None,) * 6)


attention.register_autograd(_differentiate, setup_context=_save)
