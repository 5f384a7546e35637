"""What a pipeline needs of a framework: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deberta_core.config import BaseConfig

Arrays = dict[str, NDArray[Any]]
OUTPUTS = ("logits", "start_logits", "end_logits", "last_hidden_state")


class Runner(Protocol):
    """A model on its device.

    Attributes:
        framework: ``pt`` or ``tf``.
        model: the model.
        config: its config.
    """

    framework: str
    model: Any

    @property
    def config(self) -> BaseConfig:
        """The model's config."""
        ...

    def __call__(self, inputs: Mapping[str, NDArray[np.int64]], **options: Any) -> Arrays:
        """Run a batch, dropout off.

        Args:
            inputs: int64 arrays by the names that the model takes.
            **options: further keywords of the model's call.

        Returns:
            Float32 arrays for those of ``OUTPUTS`` that the model has.
        """
        ...
