"""Weights into a model that was built without memory for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn


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
                self.put(name, torch.zeros(self.model.get_parameter(name).shape))
        return started

    def _is_parameter(self, name: str) -> bool:
        path, _, leaf = name.rpartition(".")
        return leaf in self.model.get_submodule(path)._parameters
