"""From any way of giving an input to a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from deberta_core.checks import SPREAD, TEXTS, TRUTH_VALUES, UNEVEN, innermost


def as_tensor(value: Any, name: str, model: Any) -> Any:
    """A tensor whose dtype PyTorch can look rows up by; arrays and nested lists become one.

    Args:
        value: a tensor, an array, nested lists of numbers or tensors, or ``None``, which stays.
        name: of the input.
        model: on whose device arrays and lists are put.

    Raises:
        TypeError: for a tensor of another library.
        ValueError: for texts, truth values as ids, rows of several lengths, or a nested or sparse tensor.
    """
    if value is None:
        return None
    if not isinstance(value, Tensor):
        first = innermost(value)
        if type(first).__module__.split(".")[0] in ("tensorflow", "keras", "tf_keras"):
            raise TypeError(f"{name} is a tensor of TensorFlow, expected one of PyTorch: torch.tensor({name}.numpy())")
        if isinstance(first, str) or getattr(getattr(value, "dtype", None), "kind", "") in ("U", "S"):
            raise ValueError(TEXTS.format(name=name))
        try:
            if isinstance(first, Tensor):
                value = torch.stack([as_tensor(row, name, model) for row in value])
            value = torch.as_tensor(np.asarray(value) if isinstance(first, np.ndarray) else value, device=model.device)
        except (ValueError, TypeError, RuntimeError) as error:  # an array of lists, nothing among numbers
            raise ValueError(UNEVEN.format(name=name, error=error)) from None
    if value.is_nested or value.layout is not torch.strided:
        kind, how = ("nested", "torch.nested.to_padded_tensor") if value.is_nested else ("sparse", "to_dense()")
        raise ValueError(SPREAD.format(name=name, kind=kind, how=how))
    if value.dtype in (torch.int64, torch.int32) or value.is_floating_point():
        return value
    if value.dtype == torch.bool and name in ("input_ids", "position_ids"):
        raise ValueError(TRUTH_VALUES.format(name=name))
    return value.long()
