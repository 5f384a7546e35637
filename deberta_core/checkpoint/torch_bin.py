"""PyTorch's .bin files. No code of a file is run; see ``pickles``.

Source: ``torch/serialization.py``, function ``_save``, and the opcode list of ``pickletools``.
"""

from __future__ import annotations

import math
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from deberta_core.checkpoint.mapped import MappedFile
from deberta_core.checkpoint.pickles import ForbiddenGlobal, Opaque, PickleError
from deberta_core.checkpoint.streams import Sender
from deberta_core.checkpoint.tensors import (
    DTYPES,
    Format,
    TensorInfo,
    WriteRequest,
    as_native,
    is_text,
    recognise_naming,
)
from deberta_core.checkpoint.torch_containers import LOCAL_HEADER, LegacyContainer, ZipContainer
from deberta_core.checkpoint.torch_pickle import StateReader, StoredTensor

_WRAPPERS = ("model", "state_dict", "model_state_dict", "module", "net")
_ALIGNMENT = 64
_PADDING = 0x4246  # "FB", the extra field that torch.save pads with
_ZIP64_FIELD, _FIELD_HEADER = 20, 4  # bytes


class TorchFile(Format):
    """One file of ``torch.save`` that holds tensors by name.

    Raises:
        CheckpointError: damaged, or its pickle holds more than tensors and plain data.
    """

    format = "bin"
    fixed_naming = "pt"
    suffixes = (".bin", ".pt", ".pth")

    def __init__(self, file: MappedFile, expected: Iterable[str] | None = None) -> None:
        super().__init__(file, expected)
        state = StateReader()
        self._container: ZipContainer | LegacyContainer
        self._container = (ZipContainer if file.head[:2] == b"PK" else LegacyContainer)(file)
        try:
            root = self._container.unpickle(state.read)
        except ForbiddenGlobal as error:
            self._fail(
                f"its pickle names {error.name}, which does not rebuild a tensor and could run code; refused",
                "save only the state dict (tensors by name), or as safetensors, where you trust the file",
            )
        except PickleError as error:
            self._fail(f"its pickle {error}")
        self._container.check(state.storages)
        entries = self._descend(root)
        self._stored = {name: value for name, value in entries.items() if isinstance(value, StoredTensor)}
        if bad := next((name for name in self._stored if not is_text(name)), None):
            self._fail(f"holds a tensor whose name {bad!r} is not text")
        self.tensors = {name: TensorInfo(name, value.shape, value.dtype) for name, value in self._stored.items()}
        self.skipped = {name: _kind(value) for name, value in entries.items() if name not in self._stored}
        first: dict[Any, str] = {}
        named = {name: first.setdefault(value.identity, name) for name, value in self._stored.items()}
        self.aliases = {name: other for name, other in named.items() if other != name}
        self.naming = recognise_naming(self.tensors)

    @classmethod
    def recognise(cls, file: MappedFile) -> bool:
        """By the mark of a zip file, or by the opcode that a pickle of protocol 2 or later begins with."""
        return file.head[:2] == b"PK" or file.head[:1] == pickle.PROTO

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
        dtype = raw.newbyteorder(">") if self._container.big_endian else raw
        storage = tensor.storage
        unit = DTYPES[storage.dtype].raw.itemsize
        start = storage.start * unit
        if _is_dense(tensor):
            data = self._container.view(storage.key, start + tensor.offset * raw.itemsize, self.tensors[name].nbytes)
            array = data.view(dtype).reshape(tensor.shape)
        else:
            data = self._container.view(storage.key, start, storage.length * unit)
            strides = tuple(stride * raw.itemsize for stride in tensor.strides)
            array = np.ndarray(tensor.shape, dtype, data, tensor.offset * raw.itemsize, strides)
        return as_native(array)

    # Writing.

    @classmethod
    def has_place_for(cls, info: TensorInfo) -> str:
        """All types that torch has a class of storage for."""
        return "type" if DTYPES[info.dtype].torch_storage is None else ""

    @classmethod
    def write(cls, request: WriteRequest) -> None:
        """Write the zip container, with a pickle that ``torch.load(weights_only=True)`` reads."""
        archive = request.name.rpartition(".")[0]  # a folder inside the zip, by custom the file's name without suffix
        content = _pickle([info for info, _ in request.tensors], request.aliases)
        with (
            open(request.path, "wb") as raw,
            zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as file,
            Sender(request.progress) as sender,
        ):
            _write_entry(file, f"{archive}/data.pkl", content)
            _write_entry(file, f"{archive}/byteorder", b"little")
            for number, (info, source) in enumerate(request.tensors):
                with file.open(_entry(file, f"{archive}/data/{number}"), "w", force_zip64=True) as entry:
                    sender.send(info, source, entry.write)
            _write_entry(file, f"{archive}/version", b"3\n")


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


def _entry(file: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """An entry whose content begins at a multiple of 64 bytes, so that it can be mapped."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    start = file.fp.tell() if file.fp else 0
    used = start + LOCAL_HEADER.size + len(name.encode()) + _ZIP64_FIELD + _FIELD_HEADER
    padding = -used % _ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING, padding) + b"Z" * padding
    return info


def _write_entry(file: zipfile.ZipFile, name: str, content: bytes) -> None:
    with file.open(_entry(file, name), "w", force_zip64=True) as entry:
        entry.write(content)


def _pickle(infos: Sequence[TensorInfo], aliases: Mapping[str, str]) -> bytes:
    numbers = {info.name: number for number, info in enumerate(infos)}
    by_name = {info.name: info for info in infos}
    parts = [pickle.PROTO, b"\x02", pickle.EMPTY_DICT, pickle.MARK]
    for name, first in [*((info.name, info.name) for info in infos), *aliases.items()]:
        info = by_name[first]
        parts += [_text(name), _tensor(str(DTYPES[info.dtype].torch_storage), str(numbers[first]), info.shape)]
    return b"".join([*parts, pickle.SETITEMS, pickle.STOP])


def _tensor(storage: str, key: str, shape: tuple[int, ...]) -> bytes:
    """Opcodes for ``_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())``."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * max(size, 1))
    identity = [_text("storage"), _global("torch", storage), _text(key), _text("cpu"), _int(math.prod(shape))]
    arguments = [
        _tuple(identity) + pickle.BINPERSID,
        _int(0),
        _tuple([_int(size) for size in shape]),
        _tuple([_int(stride) for stride in strides[: len(shape)]]),
        pickle.NEWFALSE,
        _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE,
    ]
    return _global("torch._utils", "_rebuild_tensor_v2") + _tuple(arguments) + pickle.REDUCE


def _tuple(items: Sequence[bytes]) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    data = text.encode("utf-8")
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def _int(value: int) -> bytes:
    if value < 1 << 31:
        return pickle.BININT + struct.pack("<i", value)
    return pickle.LONG1 + b"\x09" + value.to_bytes(9, "little", signed=True)
