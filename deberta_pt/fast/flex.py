"""PyTorch's flex_attention: one kernel on CUDA that adds the position terms as it goes.

States meet each row of the relative table once, ``[B, N, Q, R]``; the kernel looks up the row of a pair's distance, so
nothing of size ``Q x K`` exists. It has no dropout of probabilities, and is slow without its compiled form: other cases
take another implementation, and a warning says so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from deberta_pt.attention import DisentangledSelfAttention, Heads, Mask, Relative
from deberta_pt.layers import is_traced


def _kernel(device: str) -> Any:
    from torch.nn.attention.flex_attention import flex_attention  # here: importing it takes a second

    return flex_attention if device != "cuda" or is_traced() else _compiled()  # a graph compiles it with the rest


@functools.cache
def _compiled() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


def position_mod(heads: Heads, relative: Relative | None) -> Callable[..., Tensor] | None:
    """What flex_attention calls to add the position terms to a score; ``None`` if the model has none."""
    terms = []
    if heads.pos_key is not None:
        terms.append(torch.einsum("bnqd,rnd->bnqr", heads.query, heads.pos_key))
    if heads.pos_query is not None:
        terms.append(torch.einsum("bnkd,rnd->bnkr", heads.key, heads.pos_query))
    if relative is None or not terms:
        return None
    columns = relative.columns
    has_c2p, last = heads.pos_key is not None, heads.query.shape[2] - 1

    def add(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        row = columns[last - query + key]  # columns run from the largest distance down
        if has_c2p:
            score = score + terms[0][batch, head, query, row]
        if heads.pos_query is not None:
            score = score + terms[-1][batch, head, key, row]
        return score

    return add


def block_mask(mask: Mask, queries: int) -> Any:
    """The blocks in which any of so many queries sees a key."""
    from torch.nn.attention.flex_attention import create_block_mask

    # Without the axes of size one: compilers do not take an index that is a number beside those that are tensors.
    keys, blind = mask.keys[:, 0].expand(-1, queries, -1), mask.blind[:, 0, :, 0].expand(-1, queries)

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return keys[batch, query, key] & ~blind[batch, query]

    return create_block_mask(visible, keys.shape[0], None, queries, keys.shape[-1], device=str(keys.device))


def flex(
    module: DisentangledSelfAttention, heads: Heads, relative: Relative | None, mask: Mask | None
) -> tuple[Tensor, Tensor | None]:
    """Attention by flex_attention; as its plain, slow form where there is no CUDA device."""
    attend = _kernel(heads.query.device.type)
    blocks = None if mask is None else mask.blocks or block_mask(mask, heads.query.shape[2])
    context = attend(
        heads.query.contiguous(),
        heads.key.contiguous(),
        heads.value.contiguous(),
        score_mod=position_mod(heads, relative),
        block_mask=blocks,
        scale=1.0,
    )
    if mask is not None:
        context = context.masked_fill(mask.blind, 0.0)
    return context, None
