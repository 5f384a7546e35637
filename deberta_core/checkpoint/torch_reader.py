"""Reader of ``torch.save`` files: the zip container and the older one that is a run of pickles.

No code of the file is run; see ``pickle_machine``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from deberta_core.checkpoint.dtypes import DTYPES
from deberta_core.checkpoint.errors import CheckpointError
from deberta_core.checkpoint.mapped_file import MappedFile
from deberta_core.checkpoint.pickle_machine import (
    MAX_PICKLE_BYTES,
    ForbiddenGlobal,
    Opaque,
    PickleError,
    Stream,
)
from deberta_core.checkpoint.tensor_file import TensorFile, TensorInfo, is_text, recognise_naming
from deberta_core.checkpoint.torch_pickle import StateReader, StoredTensor

_WRAPPERS = ("model", "state_dict", "model_state_dict", "module", "net")
_BLOCK = 1 << 12  # bytes; more than any line of a pickle of tensors


class FileStream:
    """A bounded run of a file, read as a stream that never allocates more than is there.

    Args:
        file: file to read.
        position: first byte.
        end: byte after the last one.
    """

    def __init__(self, file: MappedFile, position: int, end: int) -> None:
        self._file = file
        self._next = position
        self._end = min(end, position + MAX_PICKLE_BYTES)
        self._buffer = b""

    def _fill(self, length: int) -> None:
        wanted = min(max(length - len(self._buffer), _BLOCK), self._end - self._next)
        if len(self._buffer) < length and wanted > 0:
            self._buffer += self._file.read(self._next, wanted)
            self._next += wanted

    def _take(self, length: int) -> bytes:
        data, self._buffer = self._buffer[:length], self._buffer[length:]
        return data

    def read(self, length: int) -> bytes:
        """Up to ``length`` bytes."""
        self._fill(length)
        return self._take(length)

    def readline(self) -> bytes:
        """Bytes to the next newline, included; names of globals are short."""
        self._fill(_BLOCK)
        return self._take(self._buffer.find(b"\n", 0, _BLOCK) + 1)

    def tell(self) -> int:
        """Position in the file."""
        return self._next - len(self._buffer)


class TorchFile(TensorFile):
    """One file of ``torch.save`` that holds tensors by name; a subclass knows the container.

    Args:
        file: the open file, closed on failure.

    Raises:
        CheckpointError: damaged, or its pickle holds more than tensors and plain data.
    """

    format = "bin"

    def __init__(self, file: MappedFile) -> None:
        self._file = file
        self.paths = (file.path,)
        self._state = StateReader()
        try:
            self._stored = self._open()
            self._big_endian = self._is_big_endian()
        except BaseException:
            file.close()
            raise
        self.naming = recognise_naming(self.tensors)

    @abstractmethod
    def _read_root(self) -> Any:
        """The value of the pickle, with storages checked against the file."""

    @abstractmethod
    def _storage_bytes(self, key: str, start: int, nbytes: int) -> np.ndarray:
        """A run of bytes of a storage as uint8, mapped where possible."""

    def _is_big_endian(self) -> bool:
        return False

    def _open(self) -> dict[str, StoredTensor]:
        entries = self._descend(self._read_root())
        stored = {name: value for name, value in entries.items() if isinstance(value, StoredTensor)}
        if bad := next((name for name in stored if not is_text(name)), None):
            self._fail(f"holds a tensor whose name {bad!r} is not text")
        self.tensors = {name: TensorInfo(name, value.shape, value.dtype) for name, value in stored.items()}
        self.skipped = {name: _kind(value) for name, value in entries.items() if name not in stored}
        first: dict[Any, str] = {}
        self.aliases = {
            name: first[value.identity]
            for name, value in stored.items()
            if first.setdefault(value.identity, name) != name
        }
        return stored

    def _descend(self, root: Any) -> Mapping[str, Any]:
        """The dict that has the tensors: the value itself, or the one below it that training scripts wrap it in."""
        if isinstance(root, StoredTensor):
            self._fail("holds one tensor without a name", "save a state dict")
        if not isinstance(root, dict):
            self._fail(f"holds a {_kind(root)} where tensors by name are expected", "save a state dict")
        if _has_tensors(root):
            return _named(root)
        inner = [name for name, value in root.items() if isinstance(value, dict) and _has_tensors(value)]
        chosen = next((name for name in _WRAPPERS if name in inner), inner[0] if len(inner) == 1 else None)
        if chosen is None:
            found = ", ".join(repr(str(name)) for name in list(root)[:8])
            self._fail(f"holds no tensors by name (its entries: {found or 'none'})", "save a state dict")
        self.notes = (f"tensors are those under the entry {chosen!r}",)
        return _named(root[chosen])

    def _load(self, name: str) -> np.ndarray:
        tensor = self._stored[name]
        raw = DTYPES[tensor.dtype].raw
        dtype = raw.newbyteorder(">") if self._big_endian else raw
        storage = tensor.storage
        unit = DTYPES[storage.dtype].raw.itemsize
        start = storage.start * unit
        if _is_dense(tensor):
            data = self._storage_bytes(storage.key, start + tensor.offset * raw.itemsize, self.tensors[name].nbytes)
            array = data.view(dtype).reshape(tensor.shape)
        else:
            data = self._storage_bytes(storage.key, start, storage.length * unit)
            strides = tuple(stride * raw.itemsize for stride in tensor.strides)
            array = np.ndarray(tensor.shape, dtype, data, tensor.offset * raw.itemsize, strides)
        if not array.flags.aligned or not array.dtype.isnative:
            array = array.astype(raw.newbyteorder("="), copy=True)
        array.flags.writeable = False
        return array

    def close(self) -> None:
        """Close the file; arrays that were read stay valid."""
        self._file.close()

    def _fail(self, problem: str, remedy: str = "download or save it again") -> NoReturn:
        raise CheckpointError(self.paths[0], problem, remedy)

    def _unpickle(self, stream: Stream) -> Any:
        try:
            return self._state.read(stream)
        except ForbiddenGlobal as error:
            self._fail(
                f"its pickle names {error.name}, which does not rebuild a tensor and could run code; refused",
                "save only the state dict (tensors by name), or as safetensors, where you trust the file",
            )
        except PickleError as error:
            self._fail(f"its pickle {error}")


def _is_dense(tensor: StoredTensor) -> bool:
    expected = 1
    if 0 in tensor.shape:
        return True
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _has_tensors(entries: dict[Any, Any]) -> bool:
    return any(isinstance(name, str) and isinstance(value, StoredTensor) for name, value in entries.items())


def _named(entries: dict[Any, Any]) -> dict[str, Any]:
    return {name if isinstance(name, str) else f"entry of key {_kind(name)}": value for name, value in entries.items()}


def _kind(value: Any) -> str:
    return value.kind if isinstance(value, Opaque) else type(value).__name__
