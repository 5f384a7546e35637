"""Arrays on a device, without a wait for what the device has yet to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def uploaded(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor; on a GPU it arrives when the device comes to it, from memory that stays in its place."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    # Apple's reads the memory later even if it is somebody else's by then (https://github.com/pytorch/pytorch/issues/189690).
    return tensor.to(device, non_blocking=device.type != "mps")


def inputs_on(device: torch.device, batch: Mapping[str, NDArray[Any]], model: Any) -> dict[str, Tensor]:
    """The inputs of a model that is on a device.

    The mask of a model of this package stays on the CPU: so it knows without waiting what is padding, and computes
    none. Others, a class of somebody's own over ours among them, may do with the mask what they like.
    """
    kept = {"attention_mask"} if type(model).__module__.startswith("deberta_pt.") else set()
    return {name: torch.from_numpy(array) if name in kept else uploaded(array, device) for name, array in batch.items()}
