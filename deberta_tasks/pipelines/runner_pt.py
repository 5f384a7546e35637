"""Batches through a PyTorch model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deberta_core.config import BaseConfig
from deberta_pt import optimize_for_inference
from deberta_pt.fast.linear import has_hooks
from deberta_pt.fast.upload import inputs_on
from deberta_tasks.pipelines.preparing import prepared
from deberta_tasks.tasks.base import OUTPUTS, Arrays


class TorchRunner:
    """A PyTorch model on its device.

    Args:
        model: any of the zoo, or one that wraps it.
        device: such as ``cuda:1``; default: where a model that is given is; else the first GPU, if there is one.
        fresh: the model was loaded for this runner.
        prepare: as ``pipeline``.

    Raises:
        ValueError: for a device that is not there.
    """

    framework = "pt"

    def __init__(
        self, model: Any, device: str | None = None, *, fresh: bool = False, prepare: bool | None = None
    ) -> None:
        if device is None and fresh and torch.cuda.is_available():
            device = "cuda"
        if device is not None:
            try:
                model = model.to(torch.device(device))
            except (RuntimeError, AssertionError) as error:
                raise ValueError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from None
        # By itself on the CPU, where it was measured.
        if prepare or (prepare is None and fresh and model.device.type == "cpu"):
            model = prepared(model, optimize=optimize_for_inference, asked=bool(prepare), reason=why_not(model))
        self.model = model

    @property
    def config(self) -> BaseConfig:
        """The model's config."""
        config: BaseConfig = self.model.config
        return config

    def __call__(self, inputs: Mapping[str, NDArray[np.int64]], **options: Any) -> Arrays:
        """Run a batch, dropout off.

        Args:
            inputs: int64 arrays by the names that the model takes.
            **options: further keywords of the model's call.

        Returns:
            Float32 arrays for those of ``OUTPUTS`` that the model has.
        """
        device = next(self.model.parameters()).device
        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                output = self.model(**inputs_on(device, inputs, self.model), **options, return_dict=True)
                # As float32, since NumPy has no bfloat16.
                return {name: output[name].float().cpu().numpy() for name in OUTPUTS if name in output}
        finally:
            self.model.train(training)


def why_not(model: Any) -> str:
    """What preparing would lose of a model; empty for nothing."""
    if model.training:
        return "it is in training mode"
    hooked = next((name or "it" for name, module in model.named_modules() if has_hooks(module)), None)
    return "" if hooked is None else f"there are hooks on {hooked}"
