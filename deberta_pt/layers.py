"""Building blocks that the models of this tree share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deberta_core.config import FLAT_VARIANCE
from deberta_pt.tracing import is_exported, is_traced


class LayerNorm(nn.LayerNorm):
    """Layer norm over the last axis whose derivative cannot explode where a token sees nothing.

    Such rows are zero as long as biases are, and there the derivative is ``1 / sqrt(eps)``, 3162, twice a layer: a loss
    that touches them has gradients of 1e12 after two layers and none after six. So nothing flows back into a row that
    sees nothing and whose variance is below ``FLAT_VARIANCE``; weight and bias get their gradients all the same, other
    rows theirs, and values stay as they are.
    """

    def forward(self, states: Tensor, blind: Tensor | None = None) -> Tensor:
        """Same shape and dtype.

        Args:
            states: ``[..., H]``.
            blind: rows that see nothing, bool, ``[..., 1]`` or of a shape that extends to it; ``None``: none.
        """
        flows = torch.is_grad_enabled() and (states.requires_grad or is_traced())
        if blind is not None and flows and (self.training or not is_exported()):  # inference pays nothing
            constant = states.detach()
            wide = constant.to(torch.promote_types(states.dtype, torch.float32))
            flat = wide.var(-1, correction=0, keepdim=True) < FLAT_VARIANCE
            states = torch.where(blind & flat, constant, states)
        return super().forward(states)
