"""Dropout that costs little on a CPU: one draw of the generator decides over four elements.

PyTorch draws a number per element there, which takes longer than the rest of a softmax. Sixteen bits each are enough:
the probability is rounded to a multiple of 1/65536, and what is kept is scaled by that very number.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deberta_pt.fast.tracing import is_traced

_LANES, _STEPS = 4, 1 << 16  # decisions in a draw of 64 bits, and what each tells apart


def keep_factors(like: Tensor, rate: float, generator: torch.Generator | None = None) -> Tensor:
    """Random factors: zero for about ``rate`` of the elements, else one over the share that is kept.

    Args:
        like: whose shape, dtype and device the factors have; contiguous.
        rate: probability of a zero, at least 0 and below 1.
        generator: where the random bits come from; default: the device's own.

    Returns:
        Of the shape of ``like``.
    """
    if like.device.type != "cpu":
        share = 1.0 - rate
        return torch.empty_like(like).bernoulli_(share, generator=generator).div_(share)
    dropped = min(round(rate * _STEPS), _STEPS - 1)
    draws = torch.empty(-(-like.numel() // _LANES), dtype=torch.int64)
    lanes = draws.random_(-(2**63), None, generator=generator).view(torch.int16)[: like.numel()]
    kept = torch.ge(lanes, dropped - _STEPS // 2, out=torch.empty(like.numel(), dtype=like.dtype))
    return kept.mul_(_STEPS / (_STEPS - dropped)).view(like.shape)


class Dropout(nn.Dropout):
    """As ``torch.nn.Dropout``."""

    def forward(self, states: Tensor) -> Tensor:
        """Any shape -> the same."""
        if not self.training or not 0.0 < self.p < 1.0 or states.device.type != "cpu" or is_traced():
            return super().forward(states)
        return states * keep_factors(states, self.p)
