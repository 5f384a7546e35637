"""Batches through a TensorFlow model: the first ones as they come, many through one traced graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deberta_core.config import BaseConfig
from deberta_tasks.pipelines.preparing import prepared
from deberta_tasks.tasks.base import OUTPUTS, Arrays
from deberta_tf import optimize_for_inference

EAGER_BATCHES = 8  # tracing a graph takes as long as some batches and pays on long work


class TFRunner:
    """A TensorFlow model on its device.

    Args:
        model: any of the zoo.
        device: such as ``GPU:1``; default TensorFlow's choice.
        fresh: the model was loaded for this runner.
        prepare: as ``pipeline``.

    Raises:
        ValueError: for a device that is not there.
    """

    framework = "tf"

    def __init__(
        self, model: Any, device: str | None = None, *, fresh: bool = False, prepare: bool | None = None
    ) -> None:
        found = [d.name.removeprefix("/device:") for d in tf.config.list_logical_devices()]
        if device is not None and device.upper() not in (*found, *{name.split(":")[0] for name in found}):
            raise ValueError(f"device {device!r} cannot be used: TensorFlow finds {', '.join(found)}")
        if prepare or (prepare is None and fresh):
            with tf.device(device):
                model = prepared(model, optimize=optimize_for_inference, asked=bool(prepare))
        self.model = model
        self._device = device
        self._batches = 0
        self._graph: Any = None

    @property
    def config(self) -> BaseConfig:
        """The model's config."""
        config: BaseConfig = self.model.config
        return config

    def __call__(self, inputs: Mapping[str, NDArray[np.int64]], **options: Any) -> Arrays:
        """Run a batch, dropout off; as ``TorchRunner`` does."""
        self._batches += 1
        with tf.device(self._device):
            tensors = {name: tf.constant(array) for name, array in inputs.items()}
            if self._batches <= EAGER_BATCHES:
                output = self._forward(tensors, options)
            else:
                if self._graph is None:
                    shapes = {name: tf.TensorSpec([None] * t.shape.rank, t.dtype) for name, t in tensors.items()}
                    self._graph = tf.function(lambda given: self._forward(given, options), input_signature=[shapes])
                output = self._graph(tensors)
        return {name: tf.cast(output[name], tf.float32).numpy() for name in OUTPUTS if name in output}

    def _forward(self, tensors: dict[str, Any], options: Mapping[str, Any]) -> Any:
        return self.model(tensors, **options, training=False, return_dict=True)
