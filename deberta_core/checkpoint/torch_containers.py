"""The two containers of ``torch.save``: a zip file, and before that a run of pickles followed by the storages.

Source: ``torch/serialization.py``, functions ``_save`` and ``_legacy_save``.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from deberta_core.checkpoint.dtypes import DTYPES
from deberta_core.checkpoint.mapped_file import MappedFile
from deberta_core.checkpoint.pickle_machine import MAX_PICKLE_BYTES
from deberta_core.checkpoint.torch_reader import FileStream, TorchFile
from deberta_core.checkpoint.zip_directory import ZipDirectory

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def open_torch(file: MappedFile) -> TorchFile:
    """Open a file of ``torch.save`` by what its first bytes say.

    Raises:
        CheckpointError: damaged, or of a kind that cannot be read.
    """
    return TorchZipFile(file) if file.read(0, min(2, file.size)) == b"PK" else TorchLegacyFile(file)


class TorchZipFile(TorchFile):
    """The zip container (torch 1.6 and later)."""

    def _read_root(self) -> Any:
        self._directory = ZipDirectory(self._file)
        names = self._directory.entries
        roots = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(roots) != 1:
            self._fail("is a zip file but not one of torch.save: it has no data.pkl", "give a file of torch.save")
        self._prefix = roots[0][: -len("data.pkl")]
        if self._prefix + "constants.pkl" in names:
            self._fail("is a TorchScript program, not a state dict", "load it with torch.jit and save its state dict")
        size = names[roots[0]].size
        if size > MAX_PICKLE_BYTES:
            self._fail(f"has a pickle of {size} bytes, more than {MAX_PICKLE_BYTES}", "save only the state dict")
        root = self._unpickle(io.BytesIO(self._directory.view(roots[0], 0, size).tobytes()))
        self._check_storages()
        return root

    def _check_storages(self) -> None:
        for key, storage in self._state.storages.items():
            name = self._entry_name(key)
            if name not in self._directory.entries:
                self._fail(f"lacks the entry {name!r} that its pickle refers to")
            needed = storage.length * DTYPES[storage.dtype].raw.itemsize
            if (held := self._directory.entries[name].size) < needed:
                self._fail(f"entry {name!r} has {held} bytes where its pickle says {needed}")
            self._directory.position(name)

    def _entry_name(self, key: str) -> str:
        return f"{self._prefix}data/{key}"

    def _is_big_endian(self) -> bool:
        name = self._prefix + "byteorder"
        entry = self._directory.entries.get(name)
        if entry is None:
            return False
        order = self._directory.view(name, 0, min(entry.size, 16)).tobytes()
        if order not in (b"little", b"big"):
            self._fail(f"gives its byte order as {order!r}, where b'little' or b'big' is expected")
        return order == b"big"

    def _storage_bytes(self, key: str, start: int, nbytes: int) -> np.ndarray:
        return self._directory.view(self._entry_name(key), start, nbytes)


class TorchLegacyFile(TorchFile):
    """The older container: pickles of magic number, protocol, platform, value and storage keys, then the storages."""

    def _read_root(self) -> Any:
        if self._file.read(0, 1) != b"\x80":
            self._fail("is neither a zip file nor a pickle, as torch.save writes", "download or save it again")
        self._position = 0
        if self._next() != _LEGACY_MAGIC or self._next() != _LEGACY_PROTOCOL:
            self._fail("is a pickle but not one of torch.save", "save the state dict with torch.save or as safetensors")
        self._next()  # the platform; storages are little-endian on every one
        root, keys = self._next(), self._next()
        self._starts = self._locate_storages(keys)
        return root

    def _next(self) -> Any:
        stream = FileStream(self._file, self._position, self._file.size)
        value = self._unpickle(stream)
        self._position = stream.tell()
        return value

    def _locate_storages(self, keys: Any) -> dict[str, int]:
        known = self._state.storages
        if not isinstance(keys, list) or {str(key) for key in keys if isinstance(key, str | int)} != known.keys():
            self._fail("lists other storages than its tensors refer to")
        starts: dict[str, int] = {}
        position = self._position
        for key in map(str, keys):
            length = int.from_bytes(self._file.read(position, 8), "little")
            if length != known[key].length or key in starts:
                self._fail(f"storage {key!r} has {length} elements where its pickle says {known[key].length}")
            starts[key] = position + 8
            position += 8 + length * DTYPES[known[key].dtype].raw.itemsize
        self._file.check_range(0, position)
        return starts

    def _storage_bytes(self, key: str, start: int, nbytes: int) -> np.ndarray:
        return self._file.view(self._starts[key] + start, nbytes)
