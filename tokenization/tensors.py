"""Padding rows to one length and making tensors of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from deberta_core.batching import pad_lists

from .arguments import BatchOptions, check_tensor_type
from .inputs import listed


def is_ragged(value: Any) -> bool:
    """Whether nested lists differ in length."""
    if not isinstance(value, (list, tuple)) or not value:
        return False
    if not any(isinstance(item, (list, tuple)) for item in value):
        return False
    lengths = {len(item) if isinstance(item, (list, tuple)) else -1 for item in value}
    return len(lengths) > 1 or any(is_ragged(item) for item in value)


def tensor_kind(value: Any) -> str | None:
    """``pt``, ``tf`` or ``np`` for a tensor or array, or a list that begins with one; ``None`` for plain lists."""
    while isinstance(value, (list, tuple)):
        value = next((item for item in value if not isinstance(item, (list, tuple)) or item), None)
    root = type(value).__module__.partition(".")[0]
    return {"torch": "pt", "tensorflow": "tf", "numpy": "np"}.get(root) if hasattr(value, "shape") else None


def as_lists(value: Any) -> Any:
    """The value with every tensor, array and column in it turned into lists and numbers."""
    if isinstance(value, (list, tuple)):
        return [as_lists(item) if not isinstance(item, (int, str)) else item for item in value]
    if tensor_kind(value) == "tf":
        return value.numpy().tolist()
    found = listed(value)
    return as_lists(found) if isinstance(found, list) else found


def to_tensor(name: str, value: Any, tensor_type: str) -> Any:
    """A tensor of nested lists: int64 in PyTorch and NumPy, int32 in TensorFlow.

    Raises:
        ValueError: rows differ in length or hold what is no number.
    """
    kind = check_tensor_type(tensor_type)
    if name == "offset_mapping" and _empty(value):
        import numpy as np

        value = np.zeros((len(value), 0, 2), np.int64)
    if is_ragged(value):
        raise ValueError(
            f"cannot make a tensor of {name!r}: its rows differ in length, from {min(map(len, value))} to "
            f"{max(map(len, value))}; use padding=True (and truncation=True with max_length), pad the extra key "
            "yourself, or leave out return_tensors"
        )
    try:
        if kind == "pt":
            import torch

            return value if isinstance(value, torch.Tensor) else torch.tensor(_numbers(value))
        if kind == "tf":
            import tensorflow as tf

            return value if tf.is_tensor(value) else tf.constant(_numbers(value), dtype=_tf_type(tf, value))
        import numpy as np

        return np.asarray(_numbers(value), dtype=np.int64 if _empty(value) else None)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot make a tensor of {name!r}: {error}; its values must be numbers") from None


def _numbers(value: Any) -> Any:
    if _empty(value):
        import numpy as np

        return np.asarray(value, dtype=np.int64)
    if isinstance(value, list) and any(value_is_text(item) for item in value):
        raise ValueError("it holds text or None")
    return value


def value_is_text(item: Any) -> bool:
    """Whether an entry cannot be a number."""
    return item is None or isinstance(item, (str, bytes))


def _empty(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, list) and _empty(item) for item in value)


def _tf_type(tf: Any, value: Any) -> Any:
    import numpy as np

    return tf.int32 if np.issubdtype(np.asarray(value).dtype, np.integer) or _empty(value) else None


def pad_columns(
    columns: Mapping[str, list[Any]], options: BatchOptions, filling: Callable[[], dict[str, Any]]
) -> dict[str, list[Any]]:
    """The features of a batch padded to one length; those that are longer, and columns without a filling, stay.

    Args:
        columns: lists by output, one for each feature; ``input_ids`` among them.
        options: how to pad.
        filling: gives what each output is padded with.

    Raises:
        ValueError: a multiple of so many tokens is beyond what truncation leaves.
    """
    lengths = [len(feature) for feature in columns["input_ids"]]
    length = max(lengths, default=0) if options.padding == "longest" else options.limit
    if options.padding == "do_not_pad" or not lengths or length is None:
        return dict(columns)
    multiple, limit = options.multiple, options.limit
    length = -(-length // multiple) * multiple if multiple else length
    if multiple and limit is not None and options.cuts and length > limit:
        fitting = " or ".join(str(n) for n in (limit // multiple * multiple, -(-limit // multiple) * multiple) if n)
        raise ValueError(
            f"pad_to_multiple_of={multiple} makes rows of {length} tokens, but truncation keeps them within {limit} "
            f"(max_length, by default model_max_length); change max_length to {fitting}, or leave out "
            "pad_to_multiple_of"
        )
    if min(lengths) >= length:
        return dict(columns)
    fill, side = filling(), options.padding_side
    return {
        name: pad_lists(values, length, fill[name], side) if name in fill else values
        for name, values in columns.items()
    }


def by_key(encoded: Any, main: str = "input_ids") -> dict[str, Any]:
    """One dictionary of a batch from a list of features; ``main`` is what they call the ids."""
    if isinstance(encoded, Mapping):
        features = dict(encoded.items())
    elif isinstance(encoded, (list, tuple)) and all(isinstance(feature, Mapping) for feature in encoded):
        names = list(encoded[0]) if encoded else ["input_ids"]
        for number, feature in enumerate(encoded):
            if set(feature) != set(names):
                raise ValueError(
                    f"row {number} has the keys {sorted(feature)}, row 0 has {sorted(names)}; give all the same"
                )
        features = {name: [feature[name] for feature in encoded] for name in names}
    else:
        raise TypeError(f"pad() takes a dictionary or a list of dictionaries, not {type(encoded).__name__}")
    if main in features:
        return {"input_ids" if name == main else name: value for name, value in features.items()}
    if "input_ids" not in features:
        raise ValueError(
            f"pad() needs 'input_ids' to know the lengths; the input has {', '.join(features) or 'no keys'}"
        )
    return features
