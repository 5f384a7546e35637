"""A model as a program of ``torch.export``: named inputs and outputs, any batch and length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Graph(nn.Module):
    """A model that takes what an exported graph takes, by name, and gives a tuple.

    Args:
        model: any of this package.
        outputs: names of what it gives, in their order.
    """

    def __init__(self, model: nn.Module, outputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.outputs = model, tuple(outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        """Int64 ``[B, L]`` each, or ``[B, C, L]`` of multiple choice."""
        found = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return tuple(found[name] for name in self.outputs)


def export_program(model: nn.Module, outputs: Sequence[str], example: Mapping[str, Any], longest: int | None) -> Any:
    """The program, whose sizes are all free.

    Args:
        model: any of this package, in evaluation mode; best as ``optimize_for_inference`` makes it.
        outputs: names of its outputs that the graph gives, in their order.
        example: int64 arrays by name, of two texts of several tokens.
        longest: most tokens that it takes; ``None``: any number.
    """
    tensors = {name: torch.as_tensor(array) for name, array in example.items()}
    axes = ("batch", "length") if tensors["input_ids"].ndim == 2 else ("batch", "choices", "length")
    sizes = {
        axis: torch.export.Dim(name, min=1, max=longest if name == "length" else None) for axis, name in enumerate(axes)
    }
    given = dict.fromkeys(tensors, sizes)
    with torch.no_grad():
        return torch.export.export(Graph(model, outputs), (), tensors, dynamic_shapes=given)
