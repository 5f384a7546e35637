"""How much heads, columns of the feed-forward parts and layers matter to what a model says of some texts.

Shapes: ``B`` examples, ``L`` tokens, ``N`` heads, ``D`` head size, ``I`` intermediate size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deberta_core.pruning import OF_EXAMPLES, Importance, Sums, by_loss, check_way, label_names, seen_in, signs_of


def importance(model: Any, batches: Iterable[Mapping[str, Any]], *, by: str = "gradient") -> Importance:
    """Measure the parts of a model; nothing of it is changed.

    With labels among the inputs it is the loss that counts; without, the outputs, or the last states of a model that
    predicts words or has no head.

    Args:
        model: any of this package, not prepared for inference.
        batches: its inputs, as tensors or arrays; gone through once for each head with ``by="loss"``.
        by: ``gradient``, of one factor for each head, column and example; or ``loss``: heads are taken out one by one,
            which takes as many runs as there are heads, and columns and layers are measured as with ``gradient``.

    Returns:
        Larger where more is lost without.

    Raises:
        ValueError: there is no token, or another way is asked for.
    """
    check_way(by)
    batches = list(batches) if by == "loss" else batches
    sums = Sums()
    with _plain(model):
        for number, batch in enumerate(batches):
            _measure(model, batch, number, sums)
        found = sums.found()
        return found if by == "gradient" else replace(found, heads=_by_loss(model, list(batches)))


def _measure(model: Any, batch: Mapping[str, Any], number: int, sums: Sums) -> None:
    """Add a batch to what was found."""
    inputs, seen = _read(batch)
    heads, columns = [], []
    with contextlib.ExitStack() as hooks, tf.GradientTape() as tape:
        for layer in model.base_model.encoder.layer:
            own = layer.attention.self
            heads.append(_factors(len(seen), own.num_heads, model))
            columns.append(_factors(len(seen), model.config.intermediate_size, model))
            tape.watch([heads[-1], columns[-1]])
            _scale(hooks, layer.attention.output_layer.dense, heads[-1], own.head_size)
            _scale(hooks, layer.output_layer.dense, columns[-1], 1)
        output = model(inputs, output_hidden_states=True, return_dict=True)
        if label_names(batch):
            total = output.loss * tf.cast(len(inputs["input_ids"]), output.loss.dtype)
        else:
            values = told(model, output, seen)
            total = tf.reduce_sum(values * tf.cast(signs_of(values.shape, number), values.dtype))
    found = tape.gradient(total, [*heads, *columns], unconnected_gradients="zero")
    arrays = [tf.cast(one, tf.float32).numpy() for one in found]
    sums.add(arrays[: len(heads)], arrays[len(heads) :])
    sums.add_states([tf.cast(states, tf.float32).numpy() for states in output.hidden_states], seen)


def told(model: Any, output: Any, seen: Any) -> tf.Tensor:
    """What a model says of its examples, padding left out: zero there.

    Args:
        model: with the head.
        output: with hidden states.
        seen: bool ``[B, L]``.
    """
    logits = [value for name, value in output.items() if name.endswith("logits")]
    if logits and model.head in OF_EXAMPLES:  # by their shape, as many labels as tokens would be taken for tokens
        return tf.stack(logits)
    values = tf.stack(logits) if logits and model.head != "ForMaskedLM" else output.hidden_states[-1]
    if tuple(values.shape[-len(seen.shape) :]) == seen.shape:  # a number for each token, of one head or two
        return tf.where(seen, values, 0.0)
    at = len(values.shape) - 3  # states [B, L, H], or logits [1, B, L, Y]
    by_token = at >= 0 and tuple(values.shape[at : at + 2]) == seen.shape
    return tf.where(seen[..., None], values, 0.0) if by_token else values


def _by_loss(model: Any, batches: list[Mapping[str, Any]]) -> list[Any]:
    layers = model.base_model.encoder.layer
    wanted: list[tf.Tensor] = []

    def run(batch: Mapping[str, Any]) -> tuple[tf.Tensor, Any]:
        inputs, seen = _read(batch)
        output = model(inputs, output_hidden_states=True, return_dict=True)
        return told(model, output, seen), output.get("loss")

    def loss_without(layer: int, head: int) -> float:
        total, examples = 0.0, 0
        with contextlib.ExitStack() as hooks:
            if layer >= 0:
                own = layers[layer].attention
                factors = np.ones((1, own.self.num_heads))
                factors[:, head] = 0
                _scale(hooks, own.output_layer.dense, tf.cast(factors, model.compute_dtype), own.self.head_size)
            for number, batch in enumerate(batches):
                values, loss = run(batch)
                if layer < 0:
                    wanted.append(values)
                count = len(batch["input_ids"])
                if loss is None:
                    lost = tf.reduce_sum(tf.square(tf.cast(values - wanted[number], tf.float64)))
                else:
                    lost = loss * count
                total, examples = total + float(lost), examples + count
        return total / examples

    return by_loss(model.config, loss_without)


def _read(batch: Mapping[str, Any]) -> tuple[dict[str, tf.Tensor], NDArray[np.bool_]]:
    """A batch as tensors, and which of its tokens are no padding."""
    return {n: tf.convert_to_tensor(np.asarray(x)) for n, x in batch.items() if x is not None}, seen_in(batch)


def _factors(examples: int, size: int, model: Any) -> tf.Tensor:
    return tf.ones([examples, size], model.compute_dtype)


def _scale(hooks: contextlib.ExitStack, dense: Any, factors: tf.Tensor, width: int) -> None:
    """Multiply what a layer reads, ``[B, L, N * width]``, by factors ``[B, N]`` or ``[1, N]``."""

    def scaled(factors: tf.Tensor, states: tf.Tensor) -> tf.Tensor:
        return type(dense).call(dense, states * tf.repeat(factors, width, -1)[:, None])

    vars(dense)["call"] = partial(scaled, factors)  # Keras has no hooks; past its tracking of attributes
    hooks.callback(vars(dense).pop, "call")


@contextlib.contextmanager
def _plain(model: Any) -> Iterator[None]:
    """With padding among the states: an example keeps its place. Dropout acts in calls of training alone."""
    if model.prepared:
        raise ValueError("a model prepared for inference has no parts of their own; measure the one it was made of")
    before = model.config.attn_implementation
    model.config.attn_implementation = "eager"
    try:
        yield
    finally:
        model.config.attn_implementation = before
