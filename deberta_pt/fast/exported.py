"""The reference of attention for graphs that leave this process: any length from 1, in steps that runtimes have.

Nothing here asks how long the texts are. What depends on the length are the rows that distances read; the relative
table is projected whole, which is a constant of the graph. Where nobody asks for probabilities, ``sdpa`` is exported.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deberta_pt.attention import DisentangledSelfAttention, Heads, Mask, Relative, position_scores


def scores_of_any(heads: Heads, relative: Relative | None) -> Tensor:
    """Scores ``[B, N, Q, K]`` of all terms."""
    scores = heads.query @ heads.key.transpose(-1, -2)
    by_position = position_scores(heads, relative)
    return scores if by_position is None else scores + by_position


def context_of_any(
    scores: Tensor, value: Tensor, mask: Mask | None, module: DisentangledSelfAttention | None = None
) -> tuple[Tensor, Tensor]:
    """Context ``[B, N, Q, D]`` and probabilities ``[B, N, Q, K]``, dropped and mixed as ``module`` says, if given."""
    scores, zero = scores.to(torch.promote_types(scores.dtype, torch.float32)), True
    if mask is not None:
        zero = module is None or module.config.masked_rows == "zero"
        # Rows that see nothing are zeroed below, states of D instead of K numbers.
        scores = scores.masked_fill(~(mask.keys if zero else mask.pairs()), torch.finfo(scores.dtype).min)
    probs = scores.softmax(-1).to(value.dtype)
    probs = probs if module is None else module.mix_probs(module.dropout(probs))
    if mask is None or not zero:
        return probs @ value, probs
    return (probs @ value).masked_fill(mask.blind, 0.0), probs.masked_fill(mask.blind, 0.0)


def exported(
    module: DisentangledSelfAttention, heads: Heads, relative: Relative | None, mask: Mask | None
) -> tuple[Tensor, Tensor]:
    """The implementation of an exported graph; probabilities are there if they are asked for."""
    return context_of_any(module.mix_logits(scores_of_any(heads, relative)), heads.value, mask, module)
