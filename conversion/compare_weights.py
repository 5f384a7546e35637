"""Two checkpoints tensor by tensor, whatever their formats; no model is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from conversion.source import Source
from conversion.transfer import FLOATS, is_narrower
from deberta_core.checkpoint.tensors import cast
from deberta_core.weight_names import is_kernel, to_pt

_BLOCK = 1 << 22  # elements


@dataclass
class WeightComparison:
    """What two checkpoints have in common.

    Attributes:
        identical: tensors that are the same bit for bit.
        rounded: tensors that the second has in a narrower type, rounded to the nearest.
        widened: tensors that the second has in a wider type, with the same values.
        different: tensors with other values: the largest difference.
        other_shape: tensors with another shape: both.
        only_first: tensors that only the first has.
        only_second: tensors that only the second has.
    """

    identical: int = 0
    rounded: list[str] = field(default_factory=list)
    widened: list[str] = field(default_factory=list)
    different: dict[str, float] = field(default_factory=dict)
    other_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    only_first: list[str] = field(default_factory=list)
    only_second: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is missing or different but for rounding that a narrower type asks for."""
        return not (self.different or self.other_shape or self.only_first or self.only_second)


def compare_weights(a: Source, b: Source) -> WeightComparison:
    """Compare all tensors of two checkpoints, those of their side files included, one at a time."""
    first, second = _by_key(a), _by_key(b)
    result = WeightComparison(
        only_first=[key for key in first if key not in second], only_second=[key for key in second if key not in first]
    )
    for key in first:
        if key in second:
            _compare(key, a, first[key], b, second[key], result)
    return result


def _by_key(source: Source) -> dict[str, str]:
    """Name in the file by published key; second names of tied weights are left out."""
    names = source.names
    found = {key: name for name, key in names.keys.items()}
    for name in (*names.foreign, *source.restored):
        found.setdefault(to_pt(name, family=names.family) if name.endswith(":0") else name, name)
    return {key: name for key, name in found.items() if name not in source.file.aliases}


def _compare(key: str, a: Source, name_a: str, b: Source, name_b: str, result: WeightComparison) -> None:
    x, y = _read(a, name_a), _read(b, name_b)
    type_x, type_y = a.tensors[name_a].dtype, b.tensors[name_b].dtype
    if x.shape != y.shape:
        result.other_shape[key] = (x.shape, y.shape)
        return
    if type_x == type_y:
        same, largest = _compare_values(x, y, type_x, type_y, type_x)
        result.identical += same
    elif type_x in FLOATS and type_y in FLOATS:
        same, largest = _compare_values(x, y, type_x, type_y, type_y)
        if same:
            (result.rounded if is_narrower(type_x, type_y) else result.widened).append(key)
    else:
        same, largest = False, float("inf")
    if not same:
        result.different[key] = largest


def _read(source: Source, name: str) -> np.ndarray[Any, Any]:
    raw = source.read_raw(name)
    return raw.T if name.endswith(":0") and is_kernel(name) else raw


def _compare_values(
    x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], type_x: str, type_y: str, common: str
) -> tuple[bool, float]:
    """Whether all elements have the same bits in a common type, and the largest difference."""
    same, largest = True, 0.0
    for left, right in zip(_blocks(x), _blocks(y), strict=True):
        if type_x != type_y:
            left, right = cast(left, type_x, common), cast(right, type_y, common)
        if left.tobytes() != right.tobytes():  # bits, not values: a NaN equals no NaN, and minus zero equals zero
            same = False
            wide = "float64" if common in FLOATS else common
            with np.errstate(invalid="ignore"):
                gap = np.abs(cast(left, common, wide).astype(np.float64) - cast(right, common, wide).astype(np.float64))
            largest = max(largest, float("inf") if np.isnan(gap).any() else float(gap.max(initial=0.0)))
    return same, largest


def _blocks(array: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    if array.ndim == 0 or array.size == 0:
        return [array]
    rows = max(1, _BLOCK // max(1, array.size // array.shape[0]))
    return [array[start : start + rows] for start in range(0, array.shape[0], rows)]
