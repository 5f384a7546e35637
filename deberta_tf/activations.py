"""Activation functions by their config names: element by element, any shape."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def _gelu(x: tf.Tensor) -> tf.Tensor:
    return 0.5 * x * (1.0 + tf.math.erf(x * 0.7071067811865476))  # tf.nn.gelu rounds its constants to float32


def _tanh_gelu(x: tf.Tensor) -> tf.Tensor:
    return 0.5 * x * (1.0 + tf.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


def _clipped_gelu(x: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(_gelu(x), -10.0, 10.0)


def _quick_gelu(x: tf.Tensor) -> tf.Tensor:
    return x * tf.sigmoid(1.702 * x)


def _squared_relu(x: tf.Tensor) -> tf.Tensor:
    return tf.square(tf.nn.relu(x))


def _leaky_relu(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.leaky_relu(x, 0.01)


def _mish(x: tf.Tensor) -> tf.Tensor:
    return x * tf.tanh(tf.math.softplus(x))


def _linear(x: tf.Tensor) -> tf.Tensor:
    return x


ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "gelu": _gelu,
    "gelu_python": _gelu,
    "gelu_10": _clipped_gelu,
    "gelu_new": _tanh_gelu,
    "gelu_fast": _tanh_gelu,
    "gelu_accurate": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "quick_gelu": _quick_gelu,
    "relu": tf.nn.relu,
    "relu2": _squared_relu,
    "relu6": tf.nn.relu6,
    "leaky_relu": _leaky_relu,
    "silu": tf.nn.silu,
    "swish": tf.nn.silu,
    "mish": _mish,
    "tanh": tf.tanh,
    "sigmoid": tf.sigmoid,
    "linear": _linear,
}
