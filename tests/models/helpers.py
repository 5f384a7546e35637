"""Tiny models of every kind whose every weight is drawn at random, batches that leave no corner out, comparisons.

Weights come from N(0, 0.2) (norms from 1 + N(0, 0.2)): with starting values most biases are zero and most norms one,
and a weight that somebody forgot to apply would go unseen.
"""

from __future__ import annotations

import contextlib
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from deberta_core.config import BaseConfig, DebertaConfig, DebertaV2Config
from deberta_core.heads import HEADS, weights

# Lengths are chosen against these: 21 tokens are more than twice the buckets and more than max_position_embeddings.
SMALL = {
    "vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
    "max_position_embeddings": 16, "relative_attention": True, "position_biased_input": False,
    "pos_att_type": "c2p|p2c", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": 3,
}  # fmt: skip
V3 = {"share_att_key": True, "position_buckets": 4, "norm_rel_ebd": "layer_norm"}
BASES: dict[str, tuple[type[BaseConfig], dict[str, Any]]] = {
    "v1": (DebertaConfig, {}),
    "v2": (DebertaV2Config, {**V3, "conv_kernel_size": 3, "conv_act": "gelu"}),
    "v3": (DebertaV2Config, V3),
}
BATCH, LENGTH, CHOICES = 4, 21, 2
IGNORED = -100


def small_config(base: str = "v3", **changes: Any) -> Any:
    """A config of a few thousand weights; ``base`` is a key of ``BASES``."""
    cls, fields = BASES[base]
    return cls(**{**SMALL, **fields, **changes})


def class_name(config: BaseConfig, head: str) -> str:
    """The public PyTorch class of a head."""
    return ("Deberta" if config.model_type == "deberta" else "DebertaV2") + head


def existing(package: Any, prefix: str = "") -> list[str]:
    """Heads of the table whose two classes this tree has."""
    return [h for h in HEADS if all(hasattr(package, f"{prefix}{f}{h}") for f in ("Deberta", "DebertaV2"))]


def random_weights(config: BaseConfig, head: str = "Model", *, seed: int = 0, spread: float = 0.2) -> dict[str, Any]:
    """Every weight of a model by published key, float64."""
    rng = np.random.default_rng(seed)
    found = {}
    for key, weight in weights(config, head).items():
        value = rng.normal(0.0, spread, weight.shape)
        found[key] = value + 1 if key.endswith("LayerNorm.weight") else value
    return found


def random_batch(config: BaseConfig, *, batch: int = BATCH, length: int | None = None, seed: int = 1) -> dict[str, Any]:
    """Ids and mask: a full row, one padded on the right, one on the left, one that is hidden altogether."""
    rng = np.random.default_rng(seed)
    if length is None:
        length = min(LENGTH, config.max_position_embeddings) if config.position_biased_input else LENGTH
    ids = rng.integers(1, config.vocab_size, (batch, length))
    mask = np.ones((batch, length), np.int64)
    mask[1 % batch, length - length // 3 :] = 0 if batch > 1 else 1
    mask[2 % batch, : length // 4] = 0 if batch > 2 else 1
    if batch > 3:
        mask[3] = 0
    ids[mask == 0] = config.pad_token_id or 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if config.type_vocab_size:
        inputs["token_type_ids"] = rng.integers(0, config.type_vocab_size, (batch, length))
    return inputs


def random_inputs(config: BaseConfig, head: str, *, labels: bool = True, seed: int = 1) -> dict[str, Any]:
    """A batch as the head wants it, with labels of every kind that its loss knows."""
    rng = np.random.default_rng(seed + 1)
    inputs = random_batch(config, seed=seed)
    if head == "ForMultipleChoice":
        other = random_batch(config, seed=seed + 2)
        inputs = {k: np.stack([inputs[k], other[k]], 1) for k in inputs}  # [B, C, L]
    if labels:
        shape = inputs["input_ids"].shape
        inputs.update(random_labels(config, head, (shape[0], shape[-1]), rng))
    return inputs


def random_labels(config: BaseConfig, head: str, shape: tuple[int, int], rng: Any) -> dict[str, Any]:
    """Labels by input name; some of them are ignored ones."""
    batch, length = shape
    some = rng.random(shape) < 0.5
    if head == "ForSequenceClassification":
        if config.problem_type == "regression" or config.num_labels == 1:
            return {"labels": rng.normal(size=(batch, config.num_labels)).astype(np.float32)}
        if config.problem_type == "multi_label_classification":
            return {"labels": rng.integers(0, 2, (batch, config.num_labels)).astype(np.float32)}
        found = rng.integers(0, config.num_labels, batch)
        found[1] = IGNORED
        return {"labels": found}
    if head in ("ForMaskedLM", "ForTokenClassification"):
        classes = config.vocab_size if head == "ForMaskedLM" else config.num_labels
        return {"labels": np.where(some, rng.integers(0, classes, shape), IGNORED)}
    if head == "ForReplacedTokenDetection":
        return {"labels": np.where(some, rng.integers(0, 2, shape), IGNORED)}
    if head == "ForQuestionAnswering":
        starts, ends = rng.integers(0, length, batch), rng.integers(0, length, batch)
        starts[1], ends[2] = IGNORED, length + 3  # ignored, and an answer that was cut off
        return {"start_positions": starts, "end_positions": ends}
    if head == "ForMultipleChoice":
        return {"labels": rng.integers(0, CHOICES, batch)}
    if head == "Model":
        return {}
    raise NotImplementedError(f"tell random_labels what labels {head} takes")


# PyTorch.


def pt_model(
    config: BaseConfig, head: str = "Model", values: dict[str, Any] | None = None, *, dtype: str = "float32"
) -> Any:
    """A PyTorch model, in evaluation mode, with the given (default: random) weights."""
    import torch

    import deberta_pt

    model = getattr(deberta_pt, class_name(config, head))(config).to(getattr(torch, dtype))
    put_pt(model, random_weights(config, head) if values is None else values)
    return model.eval()


def put_pt(model: Any, values: dict[str, Any]) -> None:
    """Give a model all its weights, by published key."""
    import torch

    own = dict(model.named_parameters())
    left = {model.own_key(key) for key in values} ^ own.keys()
    assert not left, f"the weight table and the model differ in {sorted(left)}"
    with torch.no_grad():
        for key, value in values.items():
            own[model.own_key(key)].copy_(torch.as_tensor(value))


def pt_inputs(inputs: dict[str, Any]) -> dict[str, Any]:
    """Arrays as tensors."""
    import torch

    return {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in inputs.items()}


def pt_values(model: Any) -> dict[str, Any]:
    """Weights by published key."""
    own = dict(model.named_parameters())
    return {key: own[model.own_key(key)].detach().numpy().copy() for key in weights(model.config, model.head)}


def pt_gradients(model: Any) -> dict[str, Any]:
    """Gradients by published key; zero where a weight got none."""
    own = dict(model.named_parameters())
    grads = {key: own[model.own_key(key)] for key in weights(model.config, model.head)}
    return {k: np.zeros(p.shape, np.float32) if p.grad is None else p.grad.numpy().copy() for k, p in grads.items()}


# TensorFlow.


def tf_model(
    config: BaseConfig, head: str = "Model", values: dict[str, Any] | None = None, *, dtype: str = "float32"
) -> Any:
    """A TensorFlow model with the given (default: random) weights."""
    import tf_keras

    import deberta_tf

    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(dtype)
    try:
        model = getattr(deberta_tf, "TF" + class_name(config, head))(config)
    finally:
        tf_keras.mixed_precision.set_global_policy(before)
    put_tf(model, random_weights(config, head) if values is None else values)
    return model


def put_tf(model: Any, values: dict[str, Any]) -> None:
    """Give a model all its weights, by published key."""
    rows = model.weight_rows()
    only = sorted(rows.keys() ^ values.keys())
    assert not only, f"in the weight table or the values only: {only}"
    assert len(model.trainable_weights) == len(rows), "the model has trainable weights that the table does not name"
    for key, row in rows.items():
        variable = model.variable(row)
        value = values[key].T if row.transposed else values[key]
        variable.assign(np.asarray(value, variable.dtype.as_numpy_dtype))


def tf_inputs(inputs: dict[str, Any]) -> dict[str, Any]:
    """Arrays as tensors."""
    import tensorflow as tf

    return {k: tf.constant(v) if isinstance(v, np.ndarray) else v for k, v in inputs.items()}


def in_pt_axes(row: Any, array: Any) -> Any:
    """A TensorFlow weight (or its gradient) as NumPy with PyTorch's axes."""
    return array.T if row.transposed else array


def tf_values(model: Any) -> dict[str, Any]:
    """Weights by published key, PyTorch's axes."""
    return {key: in_pt_axes(row, model.variable(row).numpy()) for key, row in model.weight_rows().items()}


def tf_gradients(model: Any, tape: Any, objective: Any) -> dict[str, Any]:
    """Gradients by published key, PyTorch's axes; zero where a weight got none."""
    import tensorflow as tf

    rows = model.weight_rows()
    found = tape.gradient(objective, [model.variable(row) for row in rows.values()], unconnected_gradients="zero")
    dense = [tf.convert_to_tensor(g).numpy() for g in found]
    return {key: in_pt_axes(row, g) for (key, row), g in zip(rows.items(), dense, strict=True)}


# Comparisons.


def flatten(output: Any) -> dict[str, Any]:
    """A model's output as float arrays by name, states and attentions numbered."""
    found: dict[str, Any] = {}
    for name, value in output.items():
        parts = {f"{name}_{i}": v for i, v in enumerate(value)} if isinstance(value, (tuple, list)) else {name: value}
        found.update({k: np.asarray(v.detach() if hasattr(v, "detach") else v) for k, v in parts.items()})
    return found


def assert_close(got: Any, want: Any, what: str, *, tolerance: float = 1e-5, floor: float = 0.0) -> None:
    """Equal shapes, finite, and within ``tolerance`` of the largest value (or of ``floor``, if that is larger)."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    assert np.isfinite(got).all(), f"{what}: not finite"
    largest = max(float(np.abs(want).max(initial=0.0)), floor)
    off = float(np.abs(got - want).max(initial=0.0))
    assert off <= tolerance * largest, f"{what}: off by {off:.2e} where the largest value is {largest:.2e}"


def assert_all_close(got: dict[str, Any], want: dict[str, Any], what: str, *, tolerance: float = 1e-5) -> None:
    """``assert_close`` for each entry of two dicts with the same keys."""
    assert got.keys() == want.keys(), f"{what}: {sorted(got.keys() ^ want.keys())} in one only"
    for key in want:
        assert_close(got[key], want[key], f"{what} {key}", tolerance=tolerance)


def assert_gradients_close(got: dict[str, Any], want: dict[str, Any], what: str, *, tolerance: float = 1e-5) -> None:
    """As ``assert_all_close``; a gradient below a tenth of the largest one is measured against that.

    Some are sums that cancel by construction: a key bias shifts all scores of a query alike, which the softmax
    removes, and the gradients of answer logits add up to zero over the tokens. What is left of them is rounding.
    """
    assert got.keys() == want.keys(), f"{what}: {sorted(got.keys() ^ want.keys())} in one only"
    floor = 0.1 * max(float(np.abs(g).max(initial=0.0)) for g in want.values())
    assert floor > 0, f"{what}: no gradient at all"
    for key in want:
        assert_close(got[key], want[key], f"{what} of {key}", tolerance=tolerance, floor=floor)


@contextlib.contextmanager
def one_warning(count: int = 1) -> Iterator[list[Any]]:
    """So many warnings, and no more, come of the block."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield seen
    assert len(seen) == count, [str(one.message) for one in seen]


def steady(name: str) -> int:
    """A seed from a name, the same in every run."""
    return zlib.crc32(name.encode())
