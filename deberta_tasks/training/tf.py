"""The learner in TensorFlow: on one device, on several of a host, or on several hosts."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

import deberta_tf
from deberta_core.perturbation import PASSES, Perturbation
from deberta_tasks.training.options import Options
from deberta_tasks.training.stream import Batch, shares
from deberta_tasks.training.tf_parallel import cut, is_first, of_replica
from deberta_tf.layers import policy
from deberta_tf.perturbation import PerturbedLoss, moved_weights
from deberta_tf.training import NOT_PREDICTIONS

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
STATE = "state"  # beginning of the names of TensorFlow's files


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
    cls = getattr(deberta_tf, f"TFAutoModel{head}")
    if folder is None:
        return cls.from_config(config)
    return cls.from_pretrained(folder, ignore_mismatched_sizes=True, **fields)


class KerasLearner:
    """A TensorFlow model that is trained; see ``loop.Learner``.

    Args:
        make: makes the model.
        options: how it is trained.
        strategy: of TensorFlow.
        lesson: makes, of the model's config, what computes the loss in the place of the model, from it and the inputs.
        perturbation: what it is trained against.
        **asked: further keywords of the model's calls in training, such as ``only_masked``.

    Raises:
        ValueError: for float16 with rates that differ from layer to layer, and for ``compile``.
    """

    def __init__(
        self,
        make: Any,
        options: Options,
        strategy: tf.distribute.Strategy | None = None,
        lesson: Callable[[Any], Callable[..., tf.Tensor]] | None = None,
        perturbation: Perturbation | None = None,
        **asked: Any,
    ) -> None:
        self.options, self.asked, self.strategy = options, asked, strategy or tf.distribute.get_strategy()
        self.processes, self.first = self.strategy.num_replicas_in_sync, is_first(self.strategy)
        self.scaled = options.precision == "float16"
        if self.scaled and options.layer_decay < 1:
            raise ValueError("precision float16 does not go with layer_decay in TensorFlow; use bfloat16")
        refuse_compile(options)
        with policy(POLICIES[options.precision]), self.strategy.scope():
            self.model = make()
            self.lesson = None if lesson is None else lesson(self.model.config)
            self.groups = groups(self.model, options)
            self.optimizers = [self._optimizer(variables) for variables in self.groups.values()]
        if options.checkpointing:
            self.model.gradient_checkpointing_enable()
        self.perturbation, self.perturbs = perturbation or Perturbation(), False
        self.perturbed_loss = PerturbedLoss(self.model, self.perturbation, self._outputs)
        self._graphs: dict[Any, Any] = {}

    def _optimizer(self, variables: list[Any]) -> Any:
        # PyTorch's epsilon, not Keras' 1e-7: the same run in both frameworks ends at the same weights, or nearly.
        optimizer = adamw(variables, weight_decay=self.options.weight_decay, epsilon=1e-8)
        if not self.scaled:
            return optimizer
        return tf_keras.mixed_precision.LossScaleOptimizer(optimizer)

    def step(self, batch: Batch, rate: float, step: int) -> dict[str, float]:
        """One step; the parts of a replica are computed one after the other."""
        for scale, optimizer in zip(self.groups, self.optimizers, strict=True):
            optimizer.learning_rate.assign(rate * scale)
        parts = self.options.accumulate
        # Dropout counts its calls; from the number of the step a resumed run counts as it would have.
        self.perturbs = self.perturbation.at(step)
        calls = parts * (PASSES if self.perturbs else 1)
        self.model.base_model.dropout_state.assign([self.options.seed, step * calls])
        weighted = {**batch, "shares": shares(batch, self.processes * parts)}
        return {"loss": float(self._call(self._global_step, cut(self.strategy, weighted, parts=parts), self.perturbs))}

    def predict(self, batch: Batch) -> dict[str, NDArray[np.float32]]:
        """Each replica computes its examples."""
        entries = self._call(self._global_prediction, cut(self.strategy, batch))
        return {name: tf.cast(value, tf.float32).numpy() for name, value in entries.items()}

    def _call(self, function: Any, batch: dict[str, tf.Tensor], perturbs: bool = False) -> Any:
        """Run as a graph, a single one for all lengths: tracing takes most of the time of a short run."""
        key = (function, perturbs)
        if key not in self._graphs:
            signature = {name: tf.TensorSpec(_open(x.shape), x.dtype) for name, x in batch.items()}
            self._graphs[key] = tf.function(function, input_signature=[signature], autograph=False)
        return self._graphs[key](batch)

    def _global_step(self, batch: Any) -> tf.Tensor:
        losses = self.strategy.run(self._replica_step, (batch,))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, losses, None)

    def _replica_step(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        variables = [variable for group in self.groups.values() for variable in group]
        batch = of_replica(batch)
        total, gradients = self._summed(batch, variables)
        if self.perturbs and self.perturbation.awp:
            with moved_weights(variables, gradients, self.perturbation.awp):
                _, gradients = self._summed(batch, variables)
        if self.scaled:
            gradients = self.optimizers[0].get_unscaled_gradients(gradients)
        if self.options.clip:
            gradients, _ = tf.clip_by_global_norm(gradients, self.options.clip)
        remaining = iter(gradients)
        for optimizer, group in zip(self.optimizers, self.groups.values(), strict=True):
            pairs = [(next(remaining), variable) for variable in group]
            optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)
        return total

    def _summed(self, batch: dict[str, tf.Tensor], variables: list[Any]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Loss of a replica's parts, and gradients of all parts of all replicas."""
        total, gradients = self._gradients({k: v[0] for k, v in batch.items()}, variables)
        for number in range(1, self.options.accumulate):
            loss, more = self._gradients({k: v[number] for k, v in batch.items()}, variables)
            total, gradients = total + loss, [a + b for a, b in zip(gradients, more, strict=True)]
        # Summed over parts and replicas before they are clipped: the limit is one of the whole batch's gradient.
        context = tf.distribute.get_replica_context()
        return total, context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)

    def _outputs(self, inputs: Mapping[str, Any]) -> Any:
        return self.model(inputs, training=True, **self.asked)

    def _gradients(self, batch: dict[str, tf.Tensor], variables: list[Any]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        share = batch.pop("shares")[0]
        with tf.GradientTape() as tape:
            loss = self.loss(batch, tape) * share
            scaled = self.optimizers[0].get_scaled_loss(loss) if self.scaled else loss
        gradients = tape.gradient(scaled, variables, unconnected_gradients="zero")
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def loss(self, inputs: dict[str, tf.Tensor], tape: tf.GradientTape) -> tf.Tensor:
        """That of a part of a batch, as the tape records it."""
        if self.lesson is not None:
            return self.lesson(self.model, inputs, **self.asked)
        return self.perturbed_loss(inputs, tape) if self.perturbs else self._outputs(inputs).loss

    def _global_prediction(self, batch: Any) -> dict[str, tf.Tensor]:
        entries = self.strategy.run(self._replica_prediction, (batch,))
        return {name: self.strategy.gather(value, axis=0) for name, value in entries.items()}

    def _replica_prediction(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        output = self.model({name: value[0] for name, value in of_replica(batch).items()}, training=False)
        return {name: value for name, value in output.items() if name not in NOT_PREDICTIONS}

    def save_state(self, folder: Path | None) -> None:
        """Variables by name."""
        save_state(folder, self.model, self.optimizers)

    def load_state(self, folder: Path) -> None:
        """All replicas read the same."""
        load_state(folder, self.model, self.optimizers)

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
    """``[replicas, parts, examples, ..., tokens]`` for any number of examples and tokens."""
    return [None if place in (2, len(shape) - 1) else size for place, size in enumerate(shape)]


def refuse_compile(options: Options) -> None:
    """Say that a step of TensorFlow is a graph already.

    Raises:
        ValueError: for ``compile``.
    """
    if options.compile:
        raise ValueError("compile is of PyTorch; in TensorFlow a step is a graph as it is, so leave it out")


def groups(model: Any, options: Options) -> dict[float, list[Any]]:
    """Variables by what the rate is multiplied with."""
    by_scale: dict[float, list[Any]] = {}
    for key, row in model.weight_rows().items():
        scale = options.scale(key, model.config.num_hidden_layers)
        by_scale.setdefault(scale, []).append(model.variable(row))
    return by_scale


def adamw(weights: Sequence[Any], *, weight_decay: float = 0.01, epsilon: float = 1e-7) -> Any:
    """AdamW that decays matrices and tables, but no biases and norms; built, so that its state can be read.

    Args:
        weights: what it trains.
        weight_decay: share of a weight that a rate of 1 takes off.
        epsilon: added to the root of the second moment.
    """
    optimizer = tf_keras.optimizers.AdamW(weight_decay=weight_decay, epsilon=epsilon)
    optimizer.exclude_from_weight_decay([weight for weight in weights if weight.shape.rank <= 1])
    optimizer.build(weights)
    return optimizer


def set_rate(optimizers: Sequence[Any], rate: float) -> None:
    """Set the learning rate."""
    for optimizer in optimizers:
        optimizer.learning_rate.assign(rate)


def save_state(folder: Path | None, model: Any, optimizers: Sequence[Any]) -> None:
    """Write all that the next step depends on, the data aside; dropout's seeds are variables of the model.

    Args:
        folder: existing folder; workers that do not write give ``None``, and take part in a write that is thrown away,
            for TensorFlow saves what is spread over workers in all of them at once.
        model: with the weights.
        optimizers: of the weights.

    Raises:
        OSError: if the files cannot be written.
    """
    with tempfile.TemporaryDirectory() as elsewhere:
        target = folder or Path(elsewhere)
        try:
            tf.train.Checkpoint(model=model, optimizers=list(optimizers)).write(str(target / STATE))
        except tf.errors.OpError as error:
            text = f"the checkpoint cannot be written ({error.message.splitlines()[0]}); is the disk full?"
            raise OSError(errno.EIO, text, os.fspath(target)) from None


def load_state(folder: Path, model: Any, optimizers: Sequence[Any]) -> None:
    """Read what ``save_state`` wrote.

    Raises:
        ValueError: if the files are damaged, or model or optimisers are not those that were saved.
    """
    try:
        checkpoint = tf.train.Checkpoint(model=model, optimizers=list(optimizers)).read(str(folder / STATE))
        checkpoint.assert_existing_objects_matched()
    except (tf.errors.OpError, IndexError) as error:
        reason = str(getattr(error, "message", error)).strip().splitlines()[0]
        raise ValueError(f"{folder} is damaged, so that nothing can be resumed from it ({reason})") from None
    except (ValueError, AssertionError) as error:
        raise ValueError(
            f"{folder} cannot be resumed, the model is of another shape ({str(error).strip().splitlines()[0]}); "
            "start from the model that the run began with, or in a new folder"
        ) from None
