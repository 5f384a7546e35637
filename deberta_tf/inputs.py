"""From any way of giving inputs to one dict of tensors and one of options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from deberta_core.checks import SPREAD, TEXTS, TRUTH_VALUES, UNEVEN, innermost
from deberta_core.wording import near
from deberta_tf.fast.dropout import Seeds, advance, dropout_seeds, running_seeds

LEGACY_KERAS = (
    "expected one of tf_keras (Keras 2): import tf_keras and use its own, "
    "or set TF_USE_LEGACY_KERAS=1 before TensorFlow is imported"
)
OPTIONS = ("output_attentions", "output_hidden_states", "return_dict", "training", "only_masked")


@functools.lru_cache(maxsize=64)
def parameters(call: Callable[..., Any]) -> tuple[str, ...]:
    """Names that a ``call`` takes, in order, without ``self``."""
    kinds = inspect.Parameter
    found = [p for p in inspect.signature(call).parameters.values() if p.name != "self"]
    return tuple(p.name for p in found if p.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD))


@functools.lru_cache(maxsize=64)
def takes_any(call: Callable[..., Any]) -> bool:
    """Whether a ``call`` takes names that it does not list."""
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(call).parameters.values())


def is_by_name(call: Callable[..., Any]) -> bool:
    """Whether a ``call`` lists the inputs of a model one by one; else it takes them as they come, as a Keras layer."""
    return not {"input_ids", "inputs_embeds"}.isdisjoint(parameters(call))


def read_inputs(
    call: Callable[..., Any], inputs: tuple[Any, ...], named: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and options of a call by name.

    Args:
        call: method whose parameters are the names.
        inputs: what was given by place: one dict, list or tuple, or the inputs one by one.
        named: what was given by name.

    Returns:
        Tensors that are not ``None``, and options that are not ``None``.

    Raises:
        TypeError: for an unknown or repeated name, or too many inputs.
    """
    names = parameters(call)
    given: dict[str, Any] = {}
    first = inputs[0] if inputs else None
    if isinstance(first, Mapping):
        given, inputs = dict(first), inputs[1:]
        rest = names[1:]
    elif isinstance(first, (list, tuple)) and not _is_row(next(iter(first), None)):
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
        if name not in names and not takes_any(call):
            raise TypeError(f"unknown input {name!r}{near(name, names)}; expected {', '.join(names)}")
    present = {name: value for name, value in given.items() if value is not None}
    options = {name: present.pop(name) for name in OPTIONS if name in present}
    return {name: as_tensor(value, name) for name, value in present.items()}, options


def with_unpacked_inputs(call: Callable[..., Any]) -> Callable[..., Any]:
    """A ``call`` whose first argument may also be a dict of all inputs, as which Keras hands them over.

    In training, dropout draws from the seeds of the model, unless it runs within another one that has begun to.
    """
    names = parameters(call)

    @functools.wraps(call)
    def unpacked(self: Any, *inputs: Any, **named: Any) -> Any:
        if is_by_name(call):
            if inputs and isinstance(inputs[0], Mapping):
                named, inputs = {**inputs[0], **named}, inputs[1:]
                inputs = (None, *inputs) if inputs else ()
            given = dict(zip(names, inputs, strict=False))
            named = {**{name: value for name, value in given.items() if value is not None}, **named}
            inputs = inputs[len(names) :]
        state = getattr(self.base_model, "dropout_state", None)  # of several encoders each has one
        if not named.get("training") or running_seeds() is not None or state is None:
            return call(self, *inputs, **named)
        advance(state)
        with dropout_seeds(Seeds(state)):
            return call(self, *inputs, **named)

    unpacked.__signature__ = inspect.signature(call)  # type: ignore[attr-defined]  # Keras reads this one
    return unpacked


def as_tensor(value: Any, name: str) -> Any:
    """A tensor whose dtype TensorFlow can look rows up by; what Keras calls symbolic stays as it is.

    Args:
        value: a tensor, an array or nested lists.
        name: of the input.

    Raises:
        TypeError: for a tensor of another library.
        ValueError: for a ragged or sparse tensor, rows of several lengths, or truth values as ids.
    """
    if isinstance(value, (tf.RaggedTensor, tf.SparseTensor)):
        ragged = isinstance(value, tf.RaggedTensor)
        kind, how = ("Ragged", "to_tensor()") if ragged else ("Sparse", "tf.sparse.to_dense")
        raise ValueError(SPREAD.format(name=name, kind=kind, how=how))
    library = type(innermost(value)).__module__.split(".")[0]
    if library == "torch":
        raise TypeError(f"{name} is a PyTorch tensor, expected one of TensorFlow: pass {name}.numpy()")
    if library == "keras":
        raise TypeError(f"{name} is a {type(value).__name__} of Keras 3, {LEGACY_KERAS}")
    if _is_symbolic(value):
        return value
    if not isinstance(value, tf.Tensor):
        try:
            value = tf.convert_to_tensor(value)
        except (ValueError, TypeError) as error:
            raise ValueError(UNEVEN.format(name=name, error=str(error).rstrip("."))) from None
    if value.dtype.is_floating or value.dtype in (tf.int32, tf.int64):
        return value
    if value.dtype == tf.string:
        raise ValueError(TEXTS.format(name=name))
    if value.dtype == tf.bool and name in ("input_ids", "position_ids"):
        raise ValueError(TRUTH_VALUES.format(name=name))
    return tf.cast(value, tf.int64 if value.dtype in (tf.uint32, tf.uint64) else tf.int32)


def _is_row(value: Any) -> bool:
    """Whether it can only be the ids of one text: what is no input, since those have a row for each text."""
    if isinstance(value, (list, tuple)):
        return bool(value) and isinstance(value[0], (int, np.integer))
    return not isinstance(value, str) and len(getattr(value, "shape", (0, 0))) == 1


def _is_symbolic(value: Any) -> bool:
    try:
        return bool(tf_keras.backend.is_keras_tensor(value))
    except ValueError:  # Keras' way of saying that it is an array or a list
        return False


def refuse_keras3(**given: Any) -> None:
    """Refuse objects and functions of Keras 3, and of classes derived from its own, among what Keras 2 is given.

    Raises:
        TypeError: for the first; the text names what to take instead.
    """
    for name, value in given.items():
        for part in tf.nest.flatten(value):
            bases = (part if isinstance(part, type) else type(part)).__mro__
            kinds = (part, *bases) if hasattr(part, "__name__") else bases  # losses and metrics may be functions
            homes = {k.__name__: str(getattr(k, "__module__", "")).split(".")[0] for k in kinds}
            if kind := next((k for k, home in homes.items() if home == "keras"), ""):
                raise TypeError(f"{name} holds a {kind} of Keras 3, {LEGACY_KERAS.replace('its own', 'its ' + kind)}")


def refuse_other_data(options: Mapping[str, Any], *data: Any) -> None:
    """Refuse tensors, loaders and data sets of other libraries among the texts and labels that Keras is given.

    Args:
        options: that were given by name, ``x`` and ``y`` perhaps among them.
        *data: the same by place.

    Raises:
        TypeError: for the first.
    """
    for name, given in {**dict(zip(("x", "y"), data, strict=False)), **options}.items():
        if name in ("x", "y"):
            for part in map(innermost, given.values() if isinstance(given, Mapping) else [given]):
                refuse_keras3(**{name: part})
                if type(part).__module__.split(".")[0] == "torch":
                    raise TypeError(
                        f"{name} holds a {type(part).__name__} of PyTorch, expected tensors of TensorFlow, arrays or a "
                        f"tf.data.Dataset: pass numpy() of a tensor"
                    )
