"""State of a training run in TensorFlow: weights, optimisers and random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras

PREFIX = "state"


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


def save_state(folder: Path, model: Any, optimizers: Sequence[Any]) -> None:
    """Write all that the next step depends on, the data aside; dropout's seeds are variables of the model.

    Args:
        folder: existing folder.
        model: with the weights.
        optimizers: of the weights.
    """
    tf.train.Checkpoint(model=model, optimizers=list(optimizers)).write(str(folder / PREFIX))


def load_state(folder: Path, model: Any, optimizers: Sequence[Any]) -> None:
    """Read what ``save_state`` wrote.

    Raises:
        AssertionError: if model or optimisers are not those that were saved; the text names what differs.
    """
    found = tf.train.Checkpoint(model=model, optimizers=list(optimizers)).read(str(folder / PREFIX))
    found.assert_existing_objects_matched()


def set_rate(optimizers: Sequence[Any], rate: float) -> None:
    """Set the learning rate."""
    for optimizer in optimizers:
        optimizer.learning_rate.assign(rate)
