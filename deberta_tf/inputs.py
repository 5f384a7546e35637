"""From any way of giving inputs to one dict of tensors and one of options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from deberta_core.config import near

OPTIONS = ("output_attentions", "output_hidden_states", "return_dict", "only_masked")


@functools.lru_cache(maxsize=64)
def parameters(forward: Callable[..., Any]) -> tuple[str, ...]:
    """Names that a ``forward`` takes, in order, without ``self`` and ``training``."""
    return tuple(name for name in inspect.signature(forward).parameters if name not in ("self", "training"))


def read_inputs(
    forward: Callable[..., Any], inputs: tuple[Any, ...], named: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and options of a call by name.

    Args:
        forward: method whose parameters are the names.
        inputs: what was given by place: one dict, list or tuple, or the inputs one by one.
        named: what was given by name.

    Returns:
        Tensors that are not ``None``, and options that are not ``None``.

    Raises:
        TypeError: for an unknown or repeated name, or too many inputs.
    """
    names = parameters(forward)
    given: dict[str, Any] = {}
    first = inputs[0] if inputs else None
    if isinstance(first, Mapping):
        given, inputs = dict(first), inputs[1:]
        rest = names[1:]
    elif isinstance(first, (list, tuple)):
        given, inputs = dict(zip(names, first, strict=False)), inputs[1:]
        rest = names[len(given) :]
    else:
        rest = names
    if len(inputs) > len(rest):
        raise TypeError(f"got {len(inputs) + len(given)} inputs, expected at most {len(names)}: {', '.join(names)}")
    for name, value in (*zip(rest, inputs, strict=False), *named.items()):
        if given.get(name) is not None and value is not None:
            raise TypeError(f"input {name!r} is given twice")
        given[name] = value
    for name in given:
        if name not in names:
            raise TypeError(f"unknown input {name!r}{near(name, names)}; expected {', '.join(names)}")
    present = {name: value for name, value in given.items() if value is not None}
    options = {name: present.pop(name) for name in OPTIONS if name in present}
    return {name: as_tensor(value) for name, value in present.items()}, options


def as_tensor(value: Any) -> Any:
    """A tensor as it is, anything else as a tensor."""
    return value if isinstance(value, tf.Tensor) or _is_symbolic(value) else tf.convert_to_tensor(value)


def _is_symbolic(value: Any) -> bool:
    try:
        return bool(tf_keras.backend.is_keras_tensor(value))
    except ValueError:  # Keras' way of saying that it is an array or a list
        return False
