"""Several texts in one row that see only themselves: found in the mask, and computed as texts of their own.

An encoder knows positions by their distance alone, so a text gives the same states wherever it lies. A mask of pairs
would be computed whole, most of it for nothing.

Shapes: ``B`` batch, ``L`` tokens of a row, ``N`` texts, ``X`` tokens of the longest, ``H`` hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from deberta_pt.layers import is_traced


class Group(NamedTuple):
    """Texts of like length.

    Attributes:
        places: place ``b * L + i`` of each token of each text, int64 ``[N, X]``; its first beyond its end.
        visible: what of that is a token, bool ``[N, X]``.
    """

    places: Tensor
    visible: Tensor

    def take(self, states: Tensor) -> Tensor:
        """``[B, L, H]`` -> ``[N, X, H]``, zero where nothing is visible."""
        apart = states.flatten(0, 1).index_select(0, self.places.flatten()).unflatten(0, self.places.shape)
        return apart * self.visible[..., None].to(states.dtype)


class Blocks(NamedTuple):
    """The texts of a batch. Where tokens are hidden, one of them is a text of its own and stands for all.

    Attributes:
        groups: all of them.
        rows: the place of each token of the batch in the groups, one behind the other, int64 ``[B, L]``.
    """

    groups: list[Group]
    rows: Tensor

    def join(self, states: Sequence[Tensor]) -> Tensor:
        """States ``[N, X, H]`` of each group -> ``[B, L, H]``."""
        flat = torch.cat([part.flatten(0, 1) for part in states])
        return flat.index_select(0, self.rows.flatten()).unflatten(0, self.rows.shape)


def starts(pairs: Tensor) -> Tensor | None:
    """The first token of the text of each token, int64 ``[B, L]``, -1 for a hidden one.

    Args:
        pairs: bool ``[B, L, L]``.

    Returns:
        ``None`` if a token sees others than the tokens of its text, or a text is not in one piece.
    """
    first = torch.where(pairs.any(-1), pairs.to(torch.uint8).argmax(-1), -1)
    place = torch.arange(pairs.shape[-1], device=pairs.device)
    goes_on = first == F.pad(first, (1, -1), value=-1)
    if not (goes_on | (first == place) | (first < 0)).all():
        return None
    same = (first[:, :, None] == first[:, None, :]) & (first >= 0)[:, :, None]
    return first if torch.equal(same, pairs) else None


def find_blocks(mask: Tensor | None, width: int) -> Blocks | None:
    """Those of a mask of pairs, where computing them apart costs less.

    Args:
        mask: any that ``read_mask`` takes.
        width: of the states, ``H``.

    Returns:
        ``None`` for another kind of mask, for one that would not gain, and while a graph is made.
    """
    if mask is None or mask.ndim < 3 or mask.shape[-2] != mask.shape[-1] or is_traced():
        return None
    pairs = (mask[:, 0] if mask.ndim == 4 else mask) != 0  # [B, L, L]
    first = starts(pairs)
    if first is None:
        return None
    batch, length = first.shape
    at, hidden = torch.arange(batch * length, device=mask.device), (first < 0).flatten()
    heads = at[first.flatten() == at % length]  # [N], where each text begins
    text = torch.bucketize(at, heads, right=True) - 1  # [B*L], the text of each token
    sizes = text[~hidden].bincount(minlength=len(heads))
    if hidden.any():
        text = text.masked_fill(hidden, len(heads))
        heads, sizes = torch.cat([heads, at[hidden][:1]]), torch.cat([sizes, sizes.new_zeros(1)])
    begins, at_least_one = torch.empty_like(heads), sizes.clamp(min=1)
    halvings = (at_least_one.max() / at_least_one).log2().long()  # of the longest, down to the length of each
    groups, used, cost = [], 0, 0
    beside = 0 if mask.device.type == "cpu" else 2 * width  # a processor leaves padding out, but for attention
    for number in halvings.unique():
        chosen = (halvings == number).nonzero()[:, 0]
        longest = int(at_least_one[chosen].max())
        step = torch.arange(longest, device=mask.device)
        visible = step < sizes[chosen, None]
        groups.append(Group(heads[chosen, None] + step * visible, visible))
        begins[chosen] = used + torch.arange(len(chosen), device=mask.device) * longest
        used += visible.numel()
        cost += visible.numel() * (longest + beside)
    if cost >= batch * length * (length + beside):
        return None
    return Blocks(groups, (begins[text] + (at - heads[text]).masked_fill(hidden, 0)).view(batch, length))
