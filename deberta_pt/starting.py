"""What weights begin as: their dtype and their values."""

from __future__ import annotations

import torch
from torch import nn

from deberta_core.config import BaseConfig


def initialise_module(module: nn.Module, config: BaseConfig) -> None:
    """Starting values of a module's own weights: normal matrices, zero biases and pad row, unit norms.

    A convolution keeps PyTorch's default, as in the reference.
    """
    with torch.no_grad():
        if isinstance(module, nn.Linear):
            module.weight.normal_(0.0, config.initializer_range)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(0.0, config.initializer_range)
            if module.padding_idx is not None:
                module.weight[module.padding_idx].zero_()
        elif isinstance(module, nn.LayerNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
        elif not isinstance(module, nn.Conv1d):
            for parameter in module.parameters(recurse=False):
                parameter.zero_()


def read_dtype(dtype: torch.dtype | str | None, stored: set[str]) -> torch.dtype:
    """The dtype of loaded weights: the one asked for, float32 by default, for ``"auto"`` the file's if it has one.

    Raises:
        ValueError: for a name that is no floating-point dtype.
    """
    if dtype == "auto":
        dtype = stored.pop() if len(stored) == 1 else None
    if dtype is None:
        return torch.float32
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype is {dtype!r}, expected 'auto' or a floating-point dtype such as torch.bfloat16")
    return found
