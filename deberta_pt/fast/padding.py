"""Padding left out: but for attention itself, layers compute the visible tokens of a batch, one behind the other.

All hidden tokens are alike, zero before the first layer and attending to nothing, so one row stands for all of them.
Attention puts projected states back to their places, where distances are known.

Shapes: ``B`` batch, ``L`` tokens, ``T`` visible tokens and a hidden one, ``X`` any size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SAVED = 8  # of so many tokens one at least must be hidden: moving rows has its price


class Places(NamedTuple):
    """Where the tokens of a batch are while padding is left out.

    Attributes:
        of_rows: place ``b * L + i`` of each row, int64 ``[T]``; the last is the first hidden token's.
        rows: the row of each place, int64 ``[B, L]``.
        blind: whether a row is that of the hidden tokens, bool ``[1, T, 1]``.
    """

    of_rows: Tensor
    rows: Tensor
    blind: Tensor


def pack(states: Tensor, places: Places | None) -> Tensor:
    """``[B, L, X]``, alike wherever tokens are hidden -> ``[1, T, X]``; without places the states as they are."""
    return states if places is None else states.flatten(0, 1).index_select(0, places.of_rows)[None]


def unpack(packed: Tensor, places: Places | None) -> Tensor:
    """The inverse: ``[1, T, X]`` -> ``[B, L, X]``."""
    if places is None:
        return packed
    return packed[0].index_select(0, places.rows.flatten()).unflatten(0, places.rows.shape)


def places_of(token_mask: Tensor) -> Places:
    """Those of a bool mask ``[B, L]``, true where a token is visible."""
    visible = token_mask.flatten()
    tokens = visible.nonzero()[:, 0]
    of_rows = torch.cat([tokens, (~visible).nonzero()[:1, 0]])
    rows = torch.where(visible, visible.cumsum(0) - 1, len(tokens))
    return Places(of_rows, rows.view_as(token_mask), ~visible[of_rows][None, :, None])
