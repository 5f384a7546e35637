"""Weights as 8-bit integers: what a file holds of them, and the floats that they stand for in both frameworks.

Beside ``x.weight`` of int8, one scale for each row, a file holds ``x.weight_scale`` ``[O]``, and where the inputs of a
product are divided by column before they are rounded, ``x.input_scale`` ``[I]``, float32 both. The weight is
``integer * weight_scale[row] / input_scale[column]``. Where 8 bits are too few for the inputs of a product,
``x.input_digits`` says how many such digits they are rounded to: int8 ``[1]``, 2.

Shapes: ``O`` rows (outputs of a product, tokens of a table), ``I`` columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_core.checkpoint import CheckpointError, NamedTensors, TensorFile, TensorInfo
from deberta_core.config import BaseConfig
from deberta_core.weight_names import is_kernel

MOST = 127  # of the integers, on either side of zero
OF_ROWS, OF_COLUMNS, DIGITS = LEAVES = ("weight_scale", "input_scale", "input_digits")
NOTE = "quantization_config"
METHOD = {"quant_method": "deberta_int8", "bits": 8}  # in config.json, where other libraries look whether they can


@dataclass(frozen=True, eq=False)
class Integers:
    """A weight in integers.

    Attributes:
        values: int8 ``[O, I]``, or with further axes behind.
        scale: float32 ``[O]``.
        input_scale: float32 ``[I]``, or ``None`` for ones.
        digits: of 8 bits, that inputs are rounded to at run time: 1 or 2.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    input_scale: NDArray[np.float32] | None = None
    digits: int = 1

    @classmethod
    def of(cls, weight: NDArray[Any], input_scale: NDArray[np.float32] | None = None) -> Integers:
        """The nearest integers to a weight, float ``[O, ...]``."""
        wide = np.asarray(weight, np.float32)
        wide = wide if input_scale is None else wide * input_scale
        largest = np.abs(wide).reshape(len(wide), -1).max(-1, initial=0)
        scale = np.where(largest > 0, largest / np.float32(MOST), np.float32(1)).astype(np.float32)
        return cls(np.rint(wide / _by_row(scale, wide)).astype(np.int8), scale, input_scale)

    def widened(self) -> NDArray[np.float32]:
        """The weight, float32."""
        found = self.values * _by_row(self.scale, self.values)
        return found if self.input_scale is None else found / self.input_scale

    def rows(self, rows: NDArray[Any]) -> Integers:
        """Some of the rows, in an order given by their numbers."""
        return replace(self, values=self.values[rows], scale=self.scale[rows])

    def tensors(self, key: str) -> dict[str, NDArray[Any]]:
        """What a file holds, by PyTorch key."""
        found: dict[str, NDArray[Any]] = {key: self.values, scale_of(key): self.scale}
        found |= {} if self.input_scale is None else {scale_of(key, OF_COLUMNS): self.input_scale}
        return found if self.digits == 1 else {**found, scale_of(key, DIGITS): np.array([self.digits], np.int8)}

    def __deepcopy__(self, memo: Any) -> Integers:  # nobody changes it
        return self


def _by_row(scale: NDArray[np.float32], like: NDArray[Any]) -> NDArray[np.float32]:
    return scale.reshape(-1, *[1] * (like.ndim - 1))


def scale_of(name: str, leaf: str = OF_ROWS) -> str:
    """Name of a scale that belongs to the weight of a name, in either world's spelling."""
    if name.endswith(":0"):
        return f"{name.rpartition('/')[0]}/{leaf}:0"
    return f"{name.rpartition('.')[0]}.{leaf}".removeprefix(".")


def is_scale(name: str) -> bool:
    """Whether a name, in either world's spelling, is that of a scale."""
    return name.removesuffix(":0").replace("/", ".").rpartition(".")[2] in LEAVES


class WidenedFile(NamedTensors):
    """A checkpoint that gives weights held as integers as the floats that they stand for.

    Args:
        file: the checkpoint.

    Attributes:
        integers: what is held as such, by the name of the weight.

    Raises:
        CheckpointError: a scale does not fit its weight.
    """

    def __init__(self, file: TensorFile) -> None:
        found: dict[str, Any] = {n: (info, partial(file.read_raw, n)) for n, info in file.tensors.items()}
        self.integers: dict[str, Integers] = {}
        for name in _rounded(file):
            self.integers[name] = self._read(file, name)
            wide = TensorInfo(name, file.tensors[name].shape, "float32")
            found[name] = wide, partial(_stored, name, file.naming, self.integers[name])
            for leaf in LEAVES:
                found.pop(scale_of(name, leaf), None)
        super().__init__(found, file, file.renamed)

    @staticmethod
    def _read(file: TensorFile, name: str) -> Integers:
        values = file.read(name)
        values = values.T if file.naming == "tf" and is_kernel(name) else values
        scales: list[Any] = []
        for leaf, sizes in ((OF_ROWS, values.shape[:1]), (OF_COLUMNS, values.shape[1:])):
            scale = scale_of(name, leaf)
            there = file.tensors.get(scale)
            scales.append(None if there is None else file.read(scale))
            if there is not None and (there.shape != sizes or there.dtype != "float32"):
                problem = f"has {scale!r} of type {there.dtype} and shape {list(there.shape)} for {name!r}"
                raise CheckpointError(file.paths[0], problem, f"expected float32 {list(sizes)}; quantise it again")
            if there is not None and not (np.isfinite(scales[-1]) & (scales[-1] > 0)).all():
                problem = f"has numbers in {scale!r} that are not above zero"
                raise CheckpointError(file.paths[0], problem, "quantise it again")
        digits = scale_of(name, DIGITS)
        count = file.read(digits).reshape(-1).tolist() if digits in file.tensors else [1]
        if count not in ([1], [2]):
            raise CheckpointError(file.paths[0], f"has {count} in {digits!r}", "expected 1 or 2; quantise it again")
        return Integers(values, scales[0], scales[1], count[0])


def _stored(name: str, naming: str, integers: Integers) -> NDArray[np.float32]:
    """The widened weight with the axes that it has in the file."""
    found = integers.widened()
    return np.ascontiguousarray(found.T) if naming == "tf" and is_kernel(name) else found


def _rounded(file: TensorFile) -> list[str]:
    """Names of the weights that are held as integers."""
    named = [name for name, info in file.tensors.items() if info.dtype == "int8" and not is_scale(name)]
    return [name for name in named if scale_of(name) in file.tensors]


def widened(file: TensorFile) -> TensorFile:
    """A checkpoint as floats: itself, unless weights are held as integers."""
    return WidenedFile(file) if _rounded(file) else file


def integers_of(file: TensorFile, sources: Mapping[str, str]) -> dict[str, Integers]:
    """The integers of a model's weights, by full key.

    Args:
        file: what ``widened`` gave.
        sources: name in the file by full key.
    """
    held = file.integers if isinstance(file, WidenedFile) else {}
    return {key: held[name] for key, name in sources.items() if name in held}


def note_method(config: BaseConfig, quantised: bool) -> None:
    """Say in a config that is to be saved whether the weights beside it are integers."""
    given = config.extra.get(NOTE)
    if quantised:
        config.extra[NOTE] = dict(METHOD)
    elif isinstance(given, Mapping) and given.get("quant_method") == METHOD["quant_method"]:
        del config.extra[NOTE]
