"""Building blocks that the models of this tree share."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from deberta_core.checks import LEFT_PADDING
from deberta_core.config import FLAT_VARIANCE, BaseConfig
from deberta_pt.attention import Mask
from deberta_pt.fast.tracing import is_exported, is_traced


def layer_norm(norm: nn.Module, states: Tensor, blind: Tensor | None = None) -> Any:
    """A layer norm over the last axis whose derivative cannot explode where a token sees nothing.

    Such rows are zero as long as biases are, and there the derivative is ``1 / sqrt(eps)``, 3162, twice a layer: a loss
    that touches them has gradients of 1e12 after two layers and none after six. So nothing flows back into a row that
    sees nothing and whose variance is below ``FLAT_VARIANCE``; weight and bias get their gradients all the same, other
    rows theirs, and values stay as they are.

    Args:
        norm: any module that normalises; adapters and other libraries put their own in place of ours.
        states: ``[..., H]``.
        blind: rows that see nothing, bool, ``[..., 1]`` or of a shape that extends to it; ``None``: none.

    Returns:
        Same shape and dtype.
    """
    flows = torch.is_grad_enabled() and (states.requires_grad or is_traced())
    if blind is not None and flows and (norm.training or not is_exported()):  # inference pays nothing
        states = stop_flat_rows(states, blind)
    return norm(states)


def stop_flat_rows(states: Tensor, blind: Tensor) -> Tensor:
    """The same states, nothing flowing back into blind rows of little variance; arguments as above."""
    wide = torch.promote_types(states.dtype, torch.float32)
    constant, stopped = states.detach(), blind.expand(*states.shape[:-1], 1)
    if states.device.type != "cpu" or is_traced():
        stopped = stopped & (constant.to(wide).var(-1, correction=0, keepdim=True) < FLAT_VARIANCE)
    else:  # blind rows are few, and hardly any is flat once a model has learned
        rows = constant[stopped[..., 0]].to(wide)
        if not len(rows) or not (flat := rows.var(-1, correction=0) < FLAT_VARIANCE).any():  # var() warns of no rows
            return states
        stopped = torch.zeros_like(stopped).masked_scatter_(stopped, flat)
    return torch.where(stopped, constant, states)


class FirstState:
    """The token state that stands for a whole text: that of its first token, or of the first visible one.

    Args:
        config: names which, and is asked at every call.
    """

    def __init__(self, config: BaseConfig) -> None:
        self.config, self.warned = config, False

    def __call__(self, hidden: Tensor, mask: Mask | None) -> Tensor:
        """``[B, L, H]`` -> ``[B, H]``; the first call that reads padding is told so, if that costs no waiting."""
        if mask is None:
            return hidden[:, 0]
        if self.config.pooled_row == "first_visible":
            first = mask.tokens().int().argmax(-1)  # [B]; 0 where nothing is visible
            return hidden.take_along_dim(first[:, None, None], 1)[:, 0]
        if not is_traced() and hidden.device.type == "cpu" and not self.warned:  # graphs depend on no such state
            visible = mask.tokens()
            if (visible.any(-1) & ~visible[:, 0]).any():
                self.warned = True
                warnings.warn(LEFT_PADDING, stacklevel=2)
        return hidden[:, 0]
