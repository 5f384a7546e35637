"""PyTorch's fused attention. The position terms are its bias: one tensor ``[B, N, Q, K]`` instead of three."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deberta_pt.attention import DisentangledSelfAttention, Heads, Mask, Relative, position_scores


def sdpa(
    module: DisentangledSelfAttention, heads: Heads, relative: Relative | None, mask: Mask | None
) -> tuple[Tensor, Tensor | None]:
    """PyTorch's fused attention, the position terms as its bias."""
    bias = position_scores(heads, relative)
    if mask is not None:
        nothing = heads.query.new_zeros(()) if bias is None else bias
        bias = nothing.masked_fill(~mask.keys, torch.finfo(nothing.dtype).min)
    context = F.scaled_dot_product_attention(
        heads.query, heads.key, heads.value, bias, module.dropout.p if module.training else 0.0, scale=1.0
    )
    if mask is not None and module.config.masked_rows == "zero":
        context = context.masked_fill(mask.blind, 0.0)
    return context, None
