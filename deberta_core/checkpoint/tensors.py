"""What every format offers: names, shapes and types of a checkpoint at once, its tensors one at a time.

Element types are a table, one row per type with its name in every file format. NumPy has no bfloat16, so those tensors
travel as their bit patterns in uint16.
"""

from __future__ import annotations

import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from deberta_core.checkpoint.errors import AGAIN, CheckpointError
from deberta_core.checkpoint.h5_names import H5Layout
from deberta_core.checkpoint.mapped import MappedFile
from deberta_core.wording import near

Source = np.ndarray | Callable[[], np.ndarray]
MAX_RANK = 32  # of HDF5 and of older NumPy
_RUN = 1 << 20  # elements


@dataclass(frozen=True)
class DType:
    """One element type.

    Args:
        name: the name of this project, which PyTorch, TensorFlow and NumPy share.
        raw: little-endian NumPy type of the stored elements.
        safetensors: code in a safetensors header, or None where the format has none.
        torch_storage: class in ``torch`` whose name a .bin file carries, or None.
    """

    name: str
    raw: np.dtype[Any]
    safetensors: str | None
    torch_storage: str | None


_ROWS = (
    DType("float64", np.dtype("<f8"), "F64", "DoubleStorage"),
    DType("float32", np.dtype("<f4"), "F32", "FloatStorage"),
    DType("float16", np.dtype("<f2"), "F16", "HalfStorage"),
    DType("bfloat16", np.dtype("<u2"), "BF16", "BFloat16Storage"),
    DType("int64", np.dtype("<i8"), "I64", "LongStorage"),
    DType("int32", np.dtype("<i4"), "I32", "IntStorage"),
    DType("int16", np.dtype("<i2"), "I16", "ShortStorage"),
    DType("int8", np.dtype("i1"), "I8", "CharStorage"),
    DType("uint64", np.dtype("<u8"), "U64", None),
    DType("uint32", np.dtype("<u4"), "U32", None),
    DType("uint16", np.dtype("<u2"), "U16", None),
    DType("uint8", np.dtype("u1"), "U8", "ByteStorage"),
    DType("bool", np.dtype("?"), "BOOL", "BoolStorage"),
    DType("complex64", np.dtype("<c8"), None, "ComplexFloatStorage"),
    DType("complex128", np.dtype("<c16"), None, "ComplexDoubleStorage"),
)

DTYPES = {row.name: row for row in _ROWS}
BY_SAFETENSORS = {row.safetensors: row for row in _ROWS if row.safetensors}
BY_TORCH_STORAGE = {row.torch_storage: row for row in _ROWS if row.torch_storage}


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Name of a NumPy element type, whatever its byte order.

    Raises:
        ValueError: no checkpoint holds elements of this type.
    """
    name = dtype.newbyteorder("=").name
    if name not in DTYPES:
        raise ValueError(f"element type {dtype} cannot be stored in a checkpoint; expected one of {', '.join(DTYPES)}")
    return name


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a checkpoint, without its data.

    Args:
        name: key in the file; TensorFlow names without the leading class name, with ``:0``.
        shape: shape as stored.
        dtype: element type, such as ``"float32"`` or ``"bfloat16"``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes that the tensor takes when stored densely, exact for any size (NumPy's product would wrap around)."""
        return math.prod(self.shape) * DTYPES[self.dtype].raw.itemsize


class TensorFile(AbstractContextManager["TensorFile"], ABC):
    """One open checkpoint, a single file or a set of shards, of any format. A context manager.

    Attributes:
        format: ``"safetensors"``, ``"bin"`` or ``"h5"``.
        naming: ``"pt"`` or ``"tf"``: whose names the tensors have.
        paths: files that are read.
        metadata: free text that the file carries.
        tensors: what the file holds, in the order of the file; no data is read for it.
        skipped: entries of a .bin file that are no tensors, by name, with their kind.
        aliases: tensors of a .bin file that are the very same as an earlier one: name to first name.
        notes: remarks for people about how the file was understood.
        renamed: name in the file of tensors that go by another one.
    """

    format: str = ""
    naming: str = "pt"
    paths: tuple[Path, ...] = ()
    metadata: Mapping[str, str] = {}
    tensors: Mapping[str, TensorInfo] = {}
    skipped: Mapping[str, str] = {}
    aliases: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    renamed: Mapping[str, str] = {}

    def read(self, name: str) -> np.ndarray:
        """One tensor, read-only, mapped where the file allows it.

        Args:
            name: key of ``tensors``.

        Returns:
            The tensor with its stored shape and type; bfloat16 widened to float32, which loses nothing.

        Raises:
            KeyError: no such tensor.
            CheckpointError: the file is damaged.
        """
        array = self.read_raw(name)
        if self.tensors[name].dtype == "bfloat16":
            array = bfloat16_to_float32(array)
            array.flags.writeable = False
        return array

    def read_raw(self, name: str) -> np.ndarray:
        """As ``read``, but bfloat16 comes as its uint16 bit patterns.

        Raises:
            KeyError: no such tensor.
            CheckpointError: the file is damaged.
        """
        if name not in self.tensors:
            where = self.paths[0] if self.paths else "the checkpoint"
            raise KeyError(f"no tensor {name!r} in {where}{near(name, self.tensors)}")
        try:
            return self._load(name)
        except MemoryError:
            size = f"{self.tensors[name].nbytes / 1e9:.3g} GB"
            self._fail(f"tensor {name!r} takes {size}, and there is not so much memory", "free some")

    @abstractmethod
    def _load(self, name: str) -> np.ndarray:
        """The stored elements of a tensor that is known to exist."""

    @abstractmethod
    def close(self) -> None:
        """Close the files; arrays that were read stay valid."""

    def keep_open(self) -> None:
        """Let ``close`` do nothing: the files are closed when nothing refers to this object any more."""
        raise NotImplementedError(f"{type(self).__name__} cannot stay open")

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fail(self, problem: str, remedy: str = AGAIN) -> NoReturn:
        raise CheckpointError(self.paths[0], problem, remedy)


@dataclass(frozen=True)
class WriteRequest:
    """One file to write.

    Args:
        path: where to write it, an existing empty file.
        name: what it will be called.
        tensors: in the order of the file, each an array or a function that makes it; bfloat16 as uint16 bit patterns.
        naming: whose names these are.
        metadata: texts for the header.
        layout: layers of an h5 file; None for a shard.
        aliases: further names of tensors among these.
        progress: told the number of bytes after each run that was written.
    """

    path: Path
    name: str
    tensors: Sequence[tuple[TensorInfo, Source]]
    naming: str
    metadata: Mapping[str, str]
    layout: H5Layout | None
    aliases: Mapping[str, str]
    progress: Callable[[int], None]


class Format(TensorFile):
    """A file format: how it is told from others, opened and written. An instance is one open file of it.

    A new format is one subclass with its row in ``weights.FORMATS``, and a column of ``DType`` where its types have
    names of their own.

    Args:
        file: the file, which the instance closes in ``close``.
        expected: names that an index gives to this file, for a shard.

    Attributes:
        suffixes: ends of file names; they count only where the content says nothing.
        fixed_naming: the only naming that the format is written with, or empty.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    fixed_naming: ClassVar[str] = ""

    def __init__(self, file: MappedFile, expected: Iterable[str] | None = None) -> None:
        self._file, self._kept = file, False
        self.paths = (file.path,)

    @classmethod
    @abstractmethod
    def recognise(cls, file: MappedFile) -> bool:
        """Whether a file is of this format, by its bytes and not by its name."""

    @classmethod
    def has_place_for(cls, info: TensorInfo) -> str:
        """What of a tensor the format cannot hold: ``type``, ``name``, or nothing."""
        return ""

    @classmethod
    def arrange(cls, infos: Sequence[TensorInfo]) -> Sequence[TensorInfo]:
        """Tensors in the order that the format wants."""
        return infos

    @classmethod
    @abstractmethod
    def write(cls, request: WriteRequest) -> None:
        """Write one file, streamed: no second copy of a tensor is made."""

    def close(self) -> None:
        """Close the file; arrays that were read stay valid."""
        if not self._kept:
            self._file.close()

    def keep_open(self) -> None:
        """Let ``close`` do nothing: the file is closed when nothing refers to this object any more."""
        if not self._kept:
            self._kept = True
            weakref.finalize(self, self._file.close).atexit = False


def recognise_naming(names: Collection[str]) -> str:
    """Whose names these are: ``"tf"`` if most are such as ``deberta/embeddings/LayerNorm/gamma:0``, else ``"pt"``.

    A tensor of a user's own may be called anything; it does not say how the others are to be read.
    """
    return "tf" if 2 * sum("/" in name and name.endswith(":0") for name in names) > len(names) else "pt"


def is_text(name: str) -> bool:
    """Whether a name can be written to a file: JSON and pickles can spell halves of characters, which cannot."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


def are_sizes(value: Any, most: int = MAX_RANK) -> bool:
    """Whether a value out of a file is a list of at most so many whole numbers from 0 on."""
    return isinstance(value, list | tuple) and len(value) <= most and all(map(is_size, value))


def is_size(value: Any) -> bool:
    """Whether a value out of a file is a whole number from 0 on that a 64-bit machine can count to."""
    return type(value) is int and 0 <= value < 1 << 63


def as_native(array: np.ndarray) -> np.ndarray:
    """A tensor as it is, or a copy where its elements lie unaligned or have their bytes swapped; read-only."""
    if not array.flags.aligned or not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="), copy=True)
    array.flags.writeable = False
    return array


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """Widen bfloat16 without loss.

    Args:
        bits: uint16 bit patterns, any shape.

    Returns:
        float32 of the same shape and values.
    """
    wide = bits.astype(np.uint32)
    np.left_shift(wide, 16, out=wide)
    return wide.view(np.float32)


def float32_to_bfloat16(array: np.ndarray) -> np.ndarray:
    """Round float32 to the nearest bfloat16, ties to even; NaN stays NaN.

    Args:
        array: float32, any shape.

    Returns:
        uint16 bit patterns of the same shape.
    """
    flat = np.ascontiguousarray(array, dtype=np.float32).reshape(-1)
    result = np.empty(flat.shape, np.uint16)
    for start in range(0, flat.size, _RUN):  # the steps below need several copies
        part = flat[start : start + _RUN]
        bits = part.view(np.uint32)
        rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
        # Rounding could carry a NaN's payload over into infinity or zero: set its quiet bit instead.
        result[start : start + _RUN] = np.where(np.isnan(part), (bits >> 16) | 0x40, rounded)
    return result.reshape(array.shape)


def cast(array: np.ndarray, stored: str, wanted: str) -> np.ndarray:
    """Elements in another floating-point type, rounded to the nearest; overflow gives infinity.

    Args:
        array: as stored, bfloat16 as uint16 bit patterns.
        stored: name of its type.
        wanted: name of the type to come.

    Returns:
        The array itself where nothing changes; bfloat16 as bit patterns.
    """
    if stored == wanted:
        return array
    values = bfloat16_to_float32(array) if stored == "bfloat16" else array
    with np.errstate(over="ignore"):
        if wanted == "bfloat16":
            return float32_to_bfloat16(values)
        return values.astype(DTYPES[wanted].raw.newbyteorder("="), copy=False)


def stored_as(info: TensorInfo, source: Source, dtype: str | None) -> tuple[TensorInfo, Source]:
    """What is to be written, in another floating-point type.

    Args:
        info: of the tensor.
        source: its elements, or a function that makes them; bfloat16 as uint16 bit patterns.
        dtype: name of the type, ``None`` for its own.
    """
    if dtype in (None, info.dtype):
        return info, source
    return replace(info, dtype=dtype), lambda: cast(source() if callable(source) else source, info.dtype, dtype)
