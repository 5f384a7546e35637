"""The learner in TensorFlow: on one device, on several of a host, or on several hosts."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from deberta_tasks.finetuning.options import Options
from deberta_tasks.finetuning.stream import Batch
from deberta_tasks.training.tf import adamw, load_state, save_state
from deberta_tasks.training.tf_parallel import cut, is_first, own
from deberta_tf import auto
from deberta_tf.training import NOT_PREDICTIONS

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def new_model(head: str, config: Any, folder: str | Path | None, seed: int, **fields: Any) -> Any:
    """A model of ``deberta_tf``.

    Args:
        head: key of ``deberta_core.heads.HEADS``.
        config: for a model from scratch.
        folder: checkpoint to start from, or ``None``.
        seed: of starting weights.
        **fields: of the config, for a checkpoint.
    """
    tf_keras.utils.set_random_seed(seed)
    cls = getattr(auto, f"TFAutoModel{head}")
    if folder is None:
        return cls.from_config(config)
    return cls.from_pretrained(folder, ignore_mismatched_sizes=True, **fields)


class KerasLearner:
    """A TensorFlow model that is trained; see ``loop.Learner``.

    Args:
        make: makes the model.
        options: how it is trained.
        strategy: of TensorFlow.

    Raises:
        ValueError: for float16 with rates that differ from layer to layer.
    """

    def __init__(self, make: Any, options: Options, strategy: tf.distribute.Strategy | None = None) -> None:
        self.options, self.strategy = options, strategy or tf.distribute.get_strategy()
        self.processes, self.first = self.strategy.num_replicas_in_sync, is_first(self.strategy)
        self.scaled = options.precision == "float16"
        if self.scaled and options.layer_decay < 1:
            raise ValueError("precision float16 does not go with layer_decay in TensorFlow; use bfloat16")
        tf_keras.mixed_precision.set_global_policy(POLICIES[options.precision])
        with self.strategy.scope():
            self.model = make()
            self.groups = groups(self.model, options)
            self.optimizers = [self._optimizer([v for v, _ in found]) for found in self.groups.values()]
        if options.checkpointing:
            self.model.gradient_checkpointing_enable()
        self._graphs: dict[Any, Any] = {}

    def _optimizer(self, variables: list[Any]) -> Any:
        optimizer = adamw(variables, weight_decay=self.options.weight_decay, epsilon=1e-8)
        if not self.scaled:
            return optimizer
        return tf_keras.mixed_precision.LossScaleOptimizer(optimizer)

    def step(self, batch: Batch, shares: NDArray[np.float32], rate: float, step: int) -> float:
        """One step; the parts of a replica are computed one after the other."""
        for scale, optimizer in zip(self.groups, self.optimizers, strict=True):
            optimizer.learning_rate.assign(rate * scale)
        state = self.model.base_model.dropout_state
        state.assign([self.options.seed, step * self.options.accumulate])
        parts = self.options.accumulate
        return float(self._call(self._global_step, cut(self.strategy, {**batch, "shares": shares}, parts=parts)))

    def predict(self, batch: Batch) -> dict[str, NDArray[np.float32]]:
        """Each replica computes its rows."""
        found = self._call(self._global_prediction, cut(self.strategy, batch))
        return {name: tf.cast(value, tf.float32).numpy() for name, value in found.items()}

    def _call(self, function: Any, rows: dict[str, tf.Tensor]) -> Any:
        """Run as a graph, a single one for all lengths: tracing takes most of the time of a short run."""
        if function not in self._graphs:
            signature = {name: tf.TensorSpec(_open(x.shape), x.dtype) for name, x in rows.items()}
            self._graphs[function] = tf.function(function, input_signature=[signature])
        return self._graphs[function](rows)

    def _global_step(self, rows: Any) -> tf.Tensor:
        losses = self.strategy.run(self._replica_step, (rows,))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, losses, None)

    def _replica_step(self, rows: dict[str, tf.Tensor]) -> tf.Tensor:
        variables = [v for found in self.groups.values() for v, _ in found]
        rows = own(rows)
        total, gradients = self._gradients({k: v[0] for k, v in rows.items()}, variables)
        for number in range(1, self.options.accumulate):
            loss, more = self._gradients({k: v[number] for k, v in rows.items()}, variables)
            total, gradients = total + loss, [a + b for a, b in zip(gradients, more, strict=True)]
        context = tf.distribute.get_replica_context()
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self.scaled:
            gradients = self.optimizers[0].get_unscaled_gradients(gradients)
        if self.options.clip:
            gradients, _ = tf.clip_by_global_norm(gradients, self.options.clip)
        start = 0
        for optimizer, found in zip(self.optimizers, self.groups.values(), strict=True):
            pairs = zip(gradients[start : start + len(found)], [v for v, _ in found], strict=True)
            optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)
            start += len(found)
        return total

    def _gradients(self, rows: dict[str, tf.Tensor], variables: list[Any]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        share = rows.pop("shares")[0]
        with tf.GradientTape() as tape:
            loss = self.model(rows, training=True).loss * share
            scaled = self.optimizers[0].get_scaled_loss(loss) if self.scaled else loss
        gradients = tape.gradient(scaled, variables, unconnected_gradients="zero")
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _global_prediction(self, rows: Any) -> dict[str, tf.Tensor]:
        found = self.strategy.run(self._replica_prediction, (rows,))
        return {name: self.strategy.gather(value, axis=0) for name, value in found.items()}

    def _replica_prediction(self, rows: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        output = self.model({name: value[0] for name, value in own(rows).items()}, training=False)
        return {name: value for name, value in output.items() if name not in NOT_PREDICTIONS}

    def save_state(self, folder: Path | None) -> None:
        """Variables by name; the workers that do not write do so into a folder that is thrown away."""
        with tempfile.TemporaryDirectory() as other:
            try:
                save_state(folder or Path(other), self.model, self.optimizers)
            except tf.errors.OpError as error:
                text = f"the checkpoint cannot be written ({error.message.splitlines()[0]}); is the disk full?"
                raise OSError(errno.ENOSPC, text, os.fspath(folder or other)) from None

    def load_state(self, folder: Path) -> None:
        """All replicas read the same."""
        try:
            load_state(folder, self.model, self.optimizers)
        except (ValueError, AssertionError, tf.errors.OpError) as error:
            raise ValueError(
                f"{folder} cannot be resumed, the model is of another shape ({str(error).strip().splitlines()[0]}); "
                "start from the model that the run began with, or in a new folder"
            ) from None

    def save_model(self, folder: Path | None) -> None:
        """``tf_model.h5``."""
        if folder is not None:
            self.model.save_pretrained(folder)

    def load_model(self, folder: Path) -> None:
        """The same weights for all replicas."""
        loaded = type(self.model).from_pretrained(folder)
        for held, value in zip(self.model.trainable_weights, loaded.trainable_weights, strict=True):
            held.assign(tf.convert_to_tensor(value))

    def wait(self) -> None:
        """Until all workers are here: a sum over them needs each."""
        self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(lambda: tf.constant(0.0)), None)

    def stop(self) -> None:
        """Nothing to do: TensorFlow parts the workers when they end."""


def _open(shape: tf.TensorShape) -> list[int | None]:
    """``[replicas, parts, rows, ..., tokens]`` for any number of rows and tokens."""
    return [None if place in (2, len(shape) - 1) else size for place, size in enumerate(shape)]


def groups(model: Any, options: Options) -> dict[float, list[tuple[Any, str]]]:
    """Variables with their names, by what the rate is multiplied with."""
    found: dict[float, list[tuple[Any, str]]] = {}
    for key, row in model.weight_rows().items():
        scale = options.scale(key, model.config.num_hidden_layers)
        found.setdefault(scale, []).append((model.variable(row), key))
    return found
