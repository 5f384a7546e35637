"""Names in TensorFlow's h5 files: layers, the part of a path that is the class, attributes that hold lists of names.

Source: Keras 2, ``keras/saving/legacy/hdf5_format.py``, for the layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_MAX_NAMES = 1 << 20
_ENCODER = "deberta"


@dataclass(frozen=True)
class H5Layout:
    """What a Keras 2 file says besides names and tensors.

    Args:
        model_name: first component of every full weight name, such as ``tf_deberta_v2_model``.
        layer_names: top-level layers in their order, those without weights included.
        repeats: layer to the weights of other layers that its group holds once more, as a layer with tied weights
            does; they take no space.
        backend: what Keras ran on.
        keras_version: version to state; readers only look whether it is there.
    """

    model_name: str
    layer_names: tuple[str, ...]
    repeats: Mapping[str, Sequence[str]] = field(default_factory=dict)
    backend: str = "tensorflow"
    keras_version: str = "2.15.0"

    def by_layer(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Weight names of each layer's group, repeats last.

        Raises:
            ValueError: a weight outside the layers, or a repeat that names no layer or weight.
        """
        groups: dict[str, list[str]] = {layer: [] for layer in self.layer_names}
        for name in names:
            layer = name.split("/")[0]
            if layer not in groups:
                raise ValueError(
                    f"weight {name!r} is in none of the layers {', '.join(self.layer_names)}; "
                    f"add {layer!r} to layer_names"
                )
            groups[layer].append(name)
        known = set(names)
        for layer, repeated in self.repeats.items():
            if layer not in groups or not known.issuperset(repeated):
                raise ValueError(f"layer {layer!r} repeats weights that are not written: {sorted(repeated)}")
            groups[layer] += repeated
        return groups


def read_names(attributes: Any, key: str) -> list[str] | None:
    """A list of names kept in an attribute, or in ``key0``, ``key1``, ... where it was too long for one.

    Args:
        attributes: attributes of an h5py group.
        key: name of the attribute.

    Returns:
        The names, or None where there is no such attribute.

    Raises:
        ValueError: the attribute is not a list of names.
    """
    if key in attributes:
        return _read_list(attributes, key)
    if f"{key}0" not in attributes:
        return None
    names: list[str] = []
    part = 0
    while f"{key}{part}" in attributes:
        names += _read_list(attributes, f"{key}{part}")
        part += 1
    return names


def _read_list(attributes: Any, key: str) -> list[str]:
    kind = attributes.get_id(key)
    if len(kind.shape) == 1 and kind.shape[0] == 0:  # the library has no storage size for these
        return []
    if len(kind.shape) != 1 or kind.shape[0] > _MAX_NAMES or kind.get_storage_size() > _MAX_NAMES * 64:
        raise ValueError(f"attribute {key!r} of shape {kind.shape} is not a list of names")
    return [_text(value, key) for value in attributes[key]]


def _text(value: Any, key: str) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, str):
        return value
    raise ValueError(f"attribute {key!r} holds {type(value).__name__} where names are expected")


def class_prefixes(names: Iterable[str], layers: Sequence[str] | None = None) -> frozenset[str]:
    """First components that are a model's class name, and so no part of a weight's name.

    That is what stands before ``deberta/``; and, where the layers are known, any other first component that is none.

    Args:
        names: full weight names of a file.
        layers: its top-level layers.
    """
    parts = [name.split("/") for name in names]
    before = {path[0] for path in parts if len(path) > 2 and path[1] == _ENCODER}
    others = {path[0] for path in parts if len(path) > 1 and layers is not None and path[0] not in layers}
    return frozenset((before | others) - {_ENCODER})


def strip_class(name: str, prefixes: frozenset[str]) -> str:
    """A weight's name without the leading class name."""
    first, _, rest = name.partition("/")
    return rest if rest and first in prefixes else name


def strip_classes(names: Sequence[str]) -> list[str]:
    """Weight names of an index, each without the leading class name where they have one."""
    prefixes = class_prefixes(names)
    return [strip_class(name, prefixes) for name in names]


def from_shard(name: str, expected: frozenset[str] | None) -> str:
    """Name of a weight that a shard keeps at a path of its own.

    Shards of base models may leave the leading ``deberta/`` out.

    Args:
        name: path of the dataset.
        expected: names that the index gives to this shard, where there is an index.
    """
    full = f"{_ENCODER}/{name}"
    if expected is not None:
        return full if full in expected and name not in expected else name
    return full if name.split("/")[0] in ("embeddings", "encoder") else name
