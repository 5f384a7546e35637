"""What weights begin as: their dtype and their values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch import nn

from deberta_core.config import BaseConfig

_FILLED_LATER: ContextVar[bool] = ContextVar("filled_later", default=False)


@contextlib.contextmanager
def filled_later() -> Iterator[None]:
    """Encoders that are built inside get no memory, as a checkpoint fills them; layers of a user's own begin as ever:
    what their ``__init__`` computes, and buffers that no file holds, would be lost without memory.
    """
    token = _FILLED_LATER.set(True)
    try:
        yield
    finally:
        _FILLED_LATER.reset(token)


def memory_for_encoder() -> contextlib.AbstractContextManager[object]:
    """Where an encoder is built: nowhere inside ``filled_later``."""
    return torch.device("meta") if _FILLED_LATER.get() else contextlib.nullcontext()


def initialise_module(module: nn.Module, config: BaseConfig) -> None:
    """Starting values of a module's own weights: normal matrices, zero biases and pad row, unit norms.

    A convolution keeps PyTorch's default, as in the reference, and so do layers of other kinds.
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
            if module.elementwise_affine:
                module.weight.fill_(1.0)
            if module.bias is not None:
                module.bias.zero_()
        elif type(module).__module__.startswith("deberta_pt."):  # biases of no layer; a user's own start themselves
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
