"""State of a training run in PyTorch: weights, optimisers and random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

FILE = "state.pt"


def save_state(folder: Path, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Write all that the next step depends on, the data aside.

    Args:
        folder: existing folder.
        model: with the weights.
        optimizers: of the weights.
    """
    state: dict[str, Any] = {
        "model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "rng": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
    }  # fmt: skip
    torch.save(state, folder / FILE)


def load_state(folder: Path, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Read what ``save_state`` wrote; nothing in the file is executed."""
    state = torch.load(folder / FILE, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    torch.set_rng_state(state["rng"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def set_rate(optimizers: Sequence[torch.optim.Optimizer], rate: float) -> None:
    """Set the learning rate of every group."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
