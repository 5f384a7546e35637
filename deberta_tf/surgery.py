"""Changing a built model: another vocabulary size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf
import tf_keras

from deberta_core.loading import without_words

if TYPE_CHECKING:
    from deberta_tf.pretrained import TFPreTrainedModel


def resized(rows: tf.Tensor, count: int, deviation: float, mean: bool = False) -> tf.Tensor:
    """A table cut or continued to ``count`` rows.

    Args:
        rows: ``[V, ...]``.
        count: rows of the result.
        deviation: standard deviation of the new rows; 0 for a bias.
        mean: let new rows scatter around the mean of the old ones, instead of around zero.

    Returns:
        ``[count, ...]``, the first rows those of ``rows``.
    """
    new = tf.random.normal([max(count - rows.shape[0], 0), *rows.shape[1:]], stddev=deviation, dtype=rows.dtype)
    if mean:
        new += tf.reduce_mean(rows, 0)
    return tf.concat([rows[:count], new], 0)


def resize_token_embeddings(model: TFPreTrainedModel, count: int, *, mean: bool) -> tf_keras.layers.Layer:
    """Give the word table, and what predicts words, ``count`` rows; see the method of the models."""
    config = model.config
    if config.pad_token_id is not None and count <= config.pad_token_id:
        raise ValueError(f"{count} rows leave no place for pad_token_id {config.pad_token_id}")
    deviation = config.initializer_range
    table = model.get_input_embeddings()
    table.embeddings = _like(table.embeddings, resized(_value(table.embeddings), count, deviation, mean))
    for module in model._flatten_layers():
        if getattr(module, "predicts_words", False):
            module.bias = _like(module.bias, resized(_value(module.bias), count, 0.0))
            if hasattr(module, "decoder"):
                rows = resized(tf.transpose(_value(module.decoder.kernel)), count, deviation, mean)
                module.decoder.kernel = _like(module.decoder.kernel, tf.transpose(rows))
                module.decoder.units = count
    model.__dict__["unused_tensors"] = without_words(model.unused_tensors, config.vocab_size)
    config.vocab_size = count
    model.train_function = model.test_function = model.predict_function = None  # traced with the old table
    return table


def _value(variable: Any) -> tf.Tensor:
    return tf.convert_to_tensor(variable.numpy())


def _like(old: Any, new: tf.Tensor) -> tf.Variable:
    return tf.Variable(new, trainable=old.trainable, name=old.name.split(":")[0])
