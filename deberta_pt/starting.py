"""What weights begin as: their dtype, their memory, and what a file puts there."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

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


class Filling:
    """Puts tensors into the places of a model.

    A weight without memory is replaced, wherever else it is held: a user's layer may share the word table. One that has
    memory is filled where it is: an LSTM keeps lists of its weights besides.

    Args:
        model: some of whose weights are on ``meta``.
        dtype: of floating-point weights.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype
        self._shared: dict[int, list[tuple[nn.Module, str]]] = {}
        for module in model.modules():
            for leaf, weight in module._parameters.items():
                if weight is not None and weight.is_meta:
                    self._shared.setdefault(id(weight), []).append((module, leaf))

    @torch.no_grad()
    def put(self, name: str, value: Tensor) -> None:
        """Fill the weight or buffer of a name."""
        old: Any = self.model.get_parameter(name) if self._is_parameter(name) else self.model.get_buffer(name)
        if not old.is_meta:
            old.copy_(value)
            return
        new = nn.Parameter(value.to(self.dtype), requires_grad=old.requires_grad)
        for module, leaf in self._shared[id(old)]:
            module._parameters[leaf] = new

    def start(self, names: Collection[str]) -> list[nn.Module]:
        """Give memory, all zeros, to the weights of some names that have none, and list the modules that hold them."""
        started = []
        for name in names:
            if self._is_parameter(name) and self.model.get_parameter(name).is_meta:
                started.append(self.model.get_submodule(name.rpartition(".")[0]))
                self.put(name, torch.zeros(self.model.get_parameter(name).shape, device="cpu"))
        return started

    def _is_parameter(self, name: str) -> bool:
        path, _, leaf = name.rpartition(".")
        return leaf in self.model.get_submodule(path)._parameters
