"""Changing a built model: another vocabulary size, fewer heads, layers and columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras.src.mixed_precision.autocast_variable import AutoCastVariable, create_autocast_variable

from deberta_core.config import check_pruning
from deberta_core.loading import without_words
from deberta_core.pruning import check_pruned_columns, check_pruned_layers, keep_layers
from deberta_tf.attention import DisentangledSelfAttention, FusedSelfAttention

NEARLY_ALIKE = 1e-5  # of the usual deviation: rows that are quite alike would stay so


def resized(rows: tf.Tensor, count: int, deviation: float, mean: bool = False) -> tf.Tensor:
    """A table cut or continued to ``count`` rows.

    Args:
        rows: ``[V, ...]``.
        count: rows of the result.
        deviation: standard deviation of the new rows; 0 for a bias.
        mean: let new rows begin as the mean of the old ones, all but alike, instead of at random around zero.

    Returns:
        ``[count, ...]``, the first rows those of ``rows``.

    Source: of the mean, Hewitt 2021, "Initializing new word embeddings for pretrained language models".
    """
    new = tf.random.normal([max(count - rows.shape[0], 0), *rows.shape[1:]], stddev=deviation, dtype=rows.dtype)
    if mean:
        new = new * NEARLY_ALIKE + tf.reduce_mean(rows, 0)
    return tf.concat([rows[:count], new], 0)


def resize_token_embeddings(model: Any, count: int, *, mean: bool) -> tf_keras.layers.Layer:
    """Give the word table, and what predicts words, ``count`` rows; see the method of the models."""
    config = model.config
    if config.pad_token_id is not None and count <= config.pad_token_id:
        raise ValueError(f"{count} rows leave no place for pad_token_id {config.pad_token_id}")
    deviation = config.initializer_range
    table = model.get_input_embeddings()
    table.embeddings = _like(table.embeddings, resized(_value(table.embeddings), count, deviation, mean))
    for module in model._flatten_layers():
        if getattr(module, "predicts_words", False):
            module.bias = _like(module.bias, resized(_value(module.bias), count, 0.0, mean))
            if hasattr(module, "decoder"):
                rows = resized(tf.transpose(_value(module.decoder.kernel)), count, deviation, mean)
                module.decoder.kernel = _like(module.decoder.kernel, tf.transpose(rows))
                module.decoder.units = count
    model.__dict__["unused_tensors"] = without_words(model.unused_tensors, config.vocab_size)
    config.vocab_size = count
    forget_graphs(model)
    return table


def prune_heads(model: Any, heads: Mapping[int, Iterable[int]]) -> None:
    """Cut heads out of layers; see the method of the models."""
    _refuse_prepared(model, "heads in one matrix")
    config = model.config
    cut = check_pruning(config, heads)
    for layer, module in enumerate(model.base_model.encoder.layer):
        before = [h for h in range(config.num_attention_heads) if h not in config.pruned_heads.get(layer, ())]
        kept = [i for i, head in enumerate(before) if head not in cut.get(layer, ())]
        if len(kept) < len(before):
            attention = module.attention.self
            _keep_heads(attention, kept)
            _keep_rows(module.attention.output_layer.dense, _positions(kept, attention.head_size))
    config.pruned_heads = cut
    forget_graphs(model)


def prune_layers(model: Any, layers: Iterable[int]) -> None:
    """Cut layers out; see the method of the models."""
    _refuse_prepared(model)
    config, encoder = model.config, model.base_model.encoder
    kept = check_pruned_layers(config, layers)
    encoder.layer = [encoder.layer[i] for i in kept]
    for number, layer in enumerate(encoder.layer):
        layer._name = f"layer_._{number}"  # by which Keras groups weights in its files
    keep_layers(config, kept)
    forget_graphs(model)


def prune_intermediate(model: Any, columns: Mapping[int, Iterable[int]]) -> None:
    """Cut columns out between the halves of the feed-forward parts; see the method of the models."""
    _refuse_prepared(model)
    kept = check_pruned_columns(model.config, columns)
    for module, places in zip(model.base_model.encoder.layer, kept, strict=True):
        first, second = module.intermediate.dense, module.output_layer.dense
        first.kernel = _like(first.kernel, tf.gather(_value(first.kernel), places, axis=1))
        first.bias = _like(first.bias, tf.gather(_value(first.bias), places))
        first.units = len(places)
        _keep_rows(second, places)
    model.config.intermediate_size = len(kept[0])
    forget_graphs(model)


def _refuse_prepared(model: Any, how: str = "weights in other forms") -> None:
    if model.prepared:
        raise ValueError(f"a model prepared for inference has its {how}; prune the one it was made of")


def _keep_rows(dense: Any, rows: list[int]) -> None:
    """Let a layer read some of its inputs."""
    dense.kernel = _like(dense.kernel, tf.gather(_value(dense.kernel), rows))
    dense.bias = _like(dense.bias, _value(dense.bias))  # else it would come before the kernel among the weights
    dense.input_spec = tf_keras.layers.InputSpec(min_ndim=2, axes={-1: len(rows)})


def forget_graphs(model: Any) -> None:
    """Let Keras trace its steps anew: those that it has read weights that are gone."""
    model.train_function = model.test_function = model.predict_function = None


def _keep_heads(attention: DisentangledSelfAttention, kept: list[int]) -> None:
    columns, fused = _positions(kept, attention.head_size), _positions(kept, 3 * attention.head_size)
    for module in attention._flatten_layers(recursive=False, include_self=False):
        if isinstance(module, tf_keras.layers.Dense):
            index = fused if module.name == "in_proj" else columns
            module.kernel = _like(module.kernel, tf.gather(_value(module.kernel), index, axis=1))
            if module.use_bias:
                module.bias = _like(module.bias, tf.gather(_value(module.bias), index))
            module.units = len(index)
    if isinstance(attention, FusedSelfAttention):
        attention.q_bias = _like(attention.q_bias, tf.gather(_value(attention.q_bias), columns))
        attention.v_bias = _like(attention.v_bias, tf.gather(_value(attention.v_bias), columns))
    attention.num_heads, attention.width = len(kept), len(columns)


def _positions(blocks: list[int], size: int) -> list[int]:
    """Positions of some blocks of ``size`` entries each, in order."""
    return [block * size + i for block in blocks for i in range(size)]


def _value(variable: Any) -> tf.Tensor:
    return tf.convert_to_tensor(variable.numpy())


def _like(old: Any, new: tf.Tensor) -> tf.Variable:
    """A variable of this value; in mixed precision it is read in the layer's dtype, as the old one was."""
    made = tf.Variable(new, trainable=old.trainable, name=old.name.split(":")[0])
    return create_autocast_variable(made) if isinstance(old, AutoCastVariable) else made
