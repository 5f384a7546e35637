"""Building blocks that own their weights from construction on, and dropout whose random numbers can be resumed.

Weights exist before the first call, so there is no ``build`` to write, and each is found by attribute path. The
name scopes give every variable a name of its own, which Keras' own ``.h5`` files need.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras.initializers import RandomNormal, RandomUniform
from tf_keras.src.utils.control_flow_util import GraphOrParentsInXlaContext

from deberta_core.checks import LEFT_PADDING
from deberta_core.config import FLAT_VARIANCE, BaseConfig


def shape_of(x: tf.Tensor) -> list[Any]:
    """Sizes of a tensor: integers where they are known while a graph is traced, scalars elsewhere."""
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(x.shape)]


def is_compiled() -> bool:
    """Whether XLA compiles the graph that is being traced."""
    return bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def refuse_if(wrong: tf.Tensor, text: str) -> list[tf.Operation]:
    """Raise if any entry of ``wrong`` is true.

    Args:
        wrong: bool, any shape.
        text: what to say.

    Returns:
        What must run before the checked tensor is read; nothing in eager mode.

    Raises:
        ValueError: in eager mode; in a graph the same text comes as ``tf.errors.InvalidArgumentError``.
    """
    if not tf.executing_eagerly():
        return [tf.debugging.Assert(tf.logical_not(tf.reduce_any(wrong)), [text])]
    if tf.reduce_any(wrong):
        raise ValueError(text)
    return []


# Keras' own policy is one for all threads: models that are built at the same time would get each other's.
_POLICY: contextvars.ContextVar[str | None] = contextvars.ContextVar("policy", default=None)


@contextlib.contextmanager
def policy(name: str | None) -> Iterator[None]:
    """Build layers of a dtype policy, such as ``"mixed_bfloat16"``, in this thread; ``None``: of the one in force."""
    token = _POLICY.set(_POLICY.get() if name is None else name)
    try:
        yield
    finally:
        _POLICY.reset(token)


def policy_in_force() -> Any:
    """What layers are to be built with: the policy of ``policy``, or else Keras' global one."""
    name = _POLICY.get()
    return tf_keras.mixed_precision.global_policy() if name is None else tf_keras.mixed_precision.Policy(name)


class AsWritten:
    """What of this project Keras calls: a graph of it is traced as the code stands.

    No branch of it depends on a tensor, so AutoGraph has nothing to rewrite, which took more than half of the time of
    tracing. Classes that others derive from ours, and their layers within our models, are rewritten as ever:
    ``tf.autograph.experimental.do_not_convert`` would leave those out, too.
    """

    def _should_use_autograph(self) -> bool:  # Keras asks this before it calls a layer in a graph
        return not hasattr(self, "autograph_info__") and super()._should_use_autograph()  # type: ignore[misc]

    @property
    def autograph_info__(self) -> dict[str, Any]:
        """By this AutoGraph knows what it has rewritten already."""
        if type(self).__module__.partition(".")[0] != "deberta_tf":
            raise AttributeError("autograph_info__")
        return {}


class Module(AsWritten, tf_keras.layers.Layer):
    """A layer with the policy in force."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"dtype": policy_in_force(), **options})


class Dense(AsWritten, tf_keras.layers.Dense):
    """A dense layer whose product, bias and activation are of matrices, so that TensorFlow computes them in one.

    Its name is Keras' own, because Keras names the groups of a weight file by classes.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """``[..., I]`` -> ``[..., O]``."""
        *batch, size = shape_of(inputs)
        return tf.reshape(super().call(tf.reshape(inputs, [-1, size])), [*batch, self.units])


def linear(
    inputs: int,
    outputs: int,
    deviation: float,
    *,
    name: str,
    bias: bool = True,
    activation: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> Dense:
    """A dense layer with normal weights of standard ``deviation`` and zero bias, and an activation if there is one."""
    start = RandomNormal(stddev=deviation)
    layer = Dense(
        outputs, activation=activation, use_bias=bias, kernel_initializer=start, name=name, dtype=policy_in_force()
    )
    with tf.name_scope(name):
        layer.build((None, inputs))
    return layer


class LayerNorm(Module):
    """Layer norm over the last axis, in at least float32, whose derivative cannot explode where a token sees nothing.

    Such rows are zero as long as biases are, and there the derivative is ``1 / sqrt(eps)``, 3162, twice a layer: a loss
    that touches them has gradients of 1e12 after two layers and none after six. So nothing flows back into a row that
    sees nothing and whose variance is below ``FLAT_VARIANCE``; gamma and beta get their gradients all the same, other
    rows theirs, and values stay as they are.

    Args:
        size: length of the last axis.
        epsilon: added to the variance.
    """

    def __init__(self, size: int, epsilon: float, name: str = "LayerNorm") -> None:
        super().__init__(name=name)
        self.epsilon = epsilon
        with tf.name_scope(name):
            self.gamma = self.add_weight("gamma", (size,), initializer="ones")
            self.beta = self.add_weight("beta", (size,), initializer="zeros")
        self.built = True

    def call(self, x: tf.Tensor, blind: tf.Tensor | None = None) -> tf.Tensor:
        """Same shape and dtype.

        Args:
            x: ``[..., H]``.
            blind: rows that see nothing, bool, ``[..., 1]`` or of a shape that extends to it; ``None``: none.
        """
        wide = tf.cast(x, tf.float64 if x.dtype == tf.float64 else tf.float32)
        mean = tf.reduce_mean(wide, -1, keepdims=True)
        centred = wide - mean
        variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
        normal = centred * tf.math.rsqrt(variance + self.epsilon)
        if blind is not None:
            normal = without_gradient(normal, blind, variance)
        return tf.cast(normal * tf.cast(self.gamma, wide.dtype) + tf.cast(self.beta, wide.dtype), x.dtype)


@tf.custom_gradient
def without_gradient(normal: tf.Tensor, blind: tf.Tensor, variance: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """``normal`` as it is, but what flows back ends at blind rows of little variance; inference computes nothing."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        return tf.where(blind & (variance < FLAT_VARIANCE), tf.zeros([], upstream.dtype), upstream), None, None

    return tf.identity(normal), gradient


class FirstState:
    """The token state that stands for a whole text: that of its first token, or of the first visible one.

    Args:
        config: names which, and is asked at every call.
    """

    def __init__(self, config: BaseConfig) -> None:
        self.config, self.warned = config, False

    def __call__(self, hidden: tf.Tensor, mask: Any) -> tf.Tensor:
        """``[B, L, H]`` and a ``Mask`` -> ``[B, H]``; the first eager call on a CPU that reads padding is told so."""
        if mask is None:
            return hidden[:, 0]
        if self.config.pooled_row == "first_visible":
            first = tf.argmax(tf.cast(mask.tokens(), tf.int32), -1)  # [B]; 0 where nothing is visible
            return tf.gather(hidden, first, batch_dims=1)
        if not self.warned and tf.executing_eagerly() and "CPU" in hidden.device:
            visible = mask.tokens()
            if tf.reduce_any(tf.reduce_any(visible, -1) & ~visible[:, 0]):
                self.warned = True
                warnings.warn(LEFT_PADDING, stacklevel=2)
        return hidden[:, 0]


# Classes that Keras has under the same name bear a prefix: it would warn of each when a whole model is saved.
class TFEmbedding(Module):
    """A table of rows.

    Args:
        rows: number of rows.
        width: length of a row.
        deviation: standard deviation of the starting values.
        padding: row that starts at zero and gets no gradient, or ``None``.
    """

    def __init__(self, rows: int, width: int, deviation: float, *, name: str, padding: int | None = None) -> None:
        super().__init__(name=name)
        self.padding = padding

        def start(shape: Any, dtype: Any = None, **_: Any) -> tf.Tensor:
            values = RandomNormal(stddev=deviation)(shape, dtype)
            if padding is None:
                return values
            return values * tf.cast(tf.range(shape[0]) != padding, values.dtype)[:, None]

        with tf.name_scope(name):
            self.embeddings = self.add_weight("embeddings", (rows, width), initializer=start)
        self.built = True

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """Int ``[...]`` -> ``[..., width]``."""
        rows = tf.gather(self.embeddings, ids)
        if self.padding is None:
            return rows
        is_padding = tf.expand_dims(ids == tf.cast(self.padding, ids.dtype), -1)
        return tf.where(is_padding, tf.stop_gradient(rows), rows)


class TFConv1D(Module):
    """Kernel and bias of a convolution over tokens; starts as PyTorch's does.

    Args:
        size: channels in and out.
        width: tokens seen, odd.
        groups: groups of channels.
    """

    def __init__(self, size: int, width: int, groups: int, name: str = "conv") -> None:
        super().__init__(name=name)
        self.groups, self.width = groups, width
        bound = 1 / math.sqrt(width * size // groups)
        with tf.name_scope(name):
            start = RandomUniform(-bound, bound)
            self.kernel = self.add_weight("kernel", (width, size // groups, size), initializer=start)
            self.bias = self.add_weight("bias", (size,), initializer=RandomUniform(-bound, bound))
        self.built = True

    def call(self, taps: tf.Tensor) -> tf.Tensor:
        """Product of the tokens around each position, ``[B, L, width, size]`` -> ``[B, L, size]``.

        TensorFlow's own convolution has no groups on the CPU; here all widths and groups are one product.
        """
        batch, length, width, size = shape_of(taps)
        taps = tf.reshape(taps, [batch, length, width, self.groups, size // self.groups])
        kernel = tf.reshape(self.kernel, [width, size // self.groups, self.groups, size // self.groups])
        mixed = tf.einsum("blwgi,wigo->blgo", taps, kernel)
        return tf.reshape(mixed, [batch, length, size]) + self.bias
