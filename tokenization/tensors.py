"""Padding rows to one length and making tensors of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TENSOR_TYPES = {"pt": "torch", "tf": "tensorflow", "np": "numpy"}


def plain(value: Any) -> Any:
    """The value of a string enumeration of another library, or the value itself."""
    return getattr(value, "value", value) if isinstance(value, str) else value


def check_tensor_type(value: Any) -> str | None:
    """Checks the argument ``return_tensors``.

    Raises:
        ValueError: it is none of ``pt``, ``tf``, ``np`` and ``None``.
    """
    name = plain(value)
    if name is None or name in TENSOR_TYPES:
        return None if name is None else str(name)
    raise ValueError(f"return_tensors={value!r} is unknown; use 'pt', 'tf', 'np' or None")


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
    """The value with every tensor and array in it turned into lists and numbers."""
    if isinstance(value, (list, tuple)):
        return [as_lists(item) if not isinstance(item, (int, str)) else item for item in value]
    if tensor_kind(value) is None:
        return value
    return value.numpy().tolist() if tensor_kind(value) == "tf" else value.tolist()


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


def target_length(lengths: list[int], padding: str, max_length: int | None, multiple: int | None) -> int | None:
    """The length that rows are padded to; ``None`` for no padding.

    Args:
        lengths: tokens in each row.
        padding: ``longest``, ``max_length`` or ``do_not_pad``.
        max_length: the limit of ``max_length``, in tokens; without one nothing is padded.
        multiple: the length is raised to a multiple of this number of tokens.
    """
    if padding == "do_not_pad" or not lengths:
        return None
    length = max(lengths) if padding == "longest" else max_length
    if length is None:
        return None
    return -(-length // multiple) * multiple if multiple else length


def check_multiple(length: int, multiple: int, limit: int | None) -> None:
    """Refuses padding beyond what truncation leaves.

    Args:
        length: what rows are padded to, a multiple of ``multiple``, in tokens.
        multiple: the argument ``pad_to_multiple_of``.
        limit: most tokens that truncation leaves, ``None`` for no limit.

    Raises:
        ValueError: with the limits that fit.
    """
    if limit is None or length <= limit:
        return
    fitting = " or ".join(str(n) for n in (limit // multiple * multiple, -(-limit // multiple) * multiple) if n)
    raise ValueError(
        f"pad_to_multiple_of={multiple} makes rows of {length} tokens, but truncation keeps them within {limit} "
        f"(max_length, by default model_max_length); change max_length to {fitting}, or leave out pad_to_multiple_of"
    )


def pad_columns(
    rows: Mapping[str, list[list[Any]]], length: int, side: str, fill: Mapping[str, Any]
) -> dict[str, list[list[Any]]]:
    """Rows of each key, padded to a length; keys without a filling stay as they are.

    Args:
        rows: lists by key, one per row.
        length: the length to pad to, in tokens. Longer rows stay as they are.
        side: ``left`` or ``right``.
        fill: what each key is padded with.
    """
    from deberta_core.batching import pad_lists  # brings NumPy, which not every call needs

    padded = {}
    for name, values in rows.items():
        if name not in fill:
            padded[name] = values
        else:
            padded[name] = pad_lists(values, length, fill[name], side)
    return padded
