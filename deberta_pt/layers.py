"""Building blocks that the models of this tree share: what differs from PyTorch's own, and why.

A shortcut that depends on values, or an operator that a compiler does not know, is for eager runs alone: ``is_traced``
says whether this is one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from deberta_core.checks import LEFT_PADDING
from deberta_core.config import FLAT_VARIANCE, BaseConfig

_LANES, _STEPS = 4, 1 << 16  # decisions in a draw of 64 bits, and what each tells apart


def is_traced() -> bool:
    """Whether a compiler, an exporter or a function transform is looking on."""
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
    )


def is_exported() -> bool:
    """Whether the graph that is made leaves this process."""
    return torch.compiler.is_exporting() or torch._C._get_tracing_state() is not None


def refuse_outside(values: Tensor, rows: int | None, text: Callable[[], str], ignored: int | None = None) -> None:
    """Refuse values below 0 or from ``rows`` on: on a CPU at once, on CUDA when the device gets there.

    To wait for the answer would drain the device's queue, and no CUDA graph could be captured. Other devices are not
    asked, nor are graphs that are being made.

    Args:
        values: numbers of rows, say.
        rows: how many there are; ``None``: without end.
        text: of the error, made when it is wanted: a graph for all lengths has no number to write into it.
        ignored: a value that may stand outside.

    Raises:
        ValueError: on a CPU.
    """
    device = values.device.type
    if device not in ("cpu", "cuda") or is_traced():
        return
    wrong = values < 0 if rows is None else (values < 0) | (values >= rows)
    wrong = wrong if ignored is None else wrong & (values != ignored)
    if device == "cuda":
        torch._assert_async(~wrong.any(), text())
    elif wrong.any():
        raise ValueError(text())


def keep_factors(like: Tensor, rate: float, generator: torch.Generator | None = None) -> Tensor:
    """Random factors: zero for about ``rate`` of the elements, else one over the share that is kept.

    On a CPU one draw of the generator decides over four elements: PyTorch draws a number for each, which takes longer
    than the rest of a softmax. Sixteen bits each are enough: the probability is rounded to a multiple of 1/65536, and
    what is kept is scaled by that very number.

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
    draws = torch.empty(-(-like.numel() // _LANES), dtype=torch.int64, device="cpu")
    lanes = draws.random_(-(2**63), None, generator=generator).view(torch.int16)[: like.numel()]
    kept = torch.ge(lanes, dropped - _STEPS // 2, out=like.new_empty(like.numel()))
    return kept.mul_(_STEPS / (_STEPS - dropped)).view(like.shape)


class Dropout(nn.Dropout):
    """As ``torch.nn.Dropout``, on a CPU by the faster draws of ``keep_factors``."""

    def forward(self, states: Tensor) -> Tensor:
        """Any shape -> the same."""
        if not self.training or not 0.0 < self.p < 1.0 or states.device.type != "cpu" or is_traced():
            return super().forward(states)
        return states * keep_factors(states, self.p)


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
    if blind is None or not flows or (not norm.training and is_exported()):  # inference pays nothing
        return norm(states)
    wide = torch.promote_types(states.dtype, torch.float32)
    constant, stopped = states.detach(), blind.expand(*states.shape[:-1], 1)
    if states.device.type != "cpu" or is_traced():
        stopped = stopped & (constant.to(wide).var(-1, correction=0, keepdim=True) < FLAT_VARIANCE)
    else:  # blind rows are few, and hardly any is flat once a model has learned
        rows = constant[stopped[..., 0]].to(wide)
        if not len(rows) or not (flat := rows.var(-1, correction=0) < FLAT_VARIANCE).any():  # var() warns of no rows
            return norm(states)
        stopped = torch.zeros_like(stopped).masked_scatter_(stopped, flat)
    return norm(torch.where(stopped, constant, states))


class FirstState:
    """The token state that stands for a whole text: that of its first token, or of the first visible one.

    Args:
        config: names which, and is asked at every call.
    """

    def __init__(self, config: BaseConfig) -> None:
        self.config, self.warned = config, False

    def __call__(self, hidden: Tensor, mask: Any) -> Tensor:
        """``[B, L, H]`` and a ``Mask`` -> ``[B, H]``; the first call that reads padding on a CPU is told so."""
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
