"""The two containers of ``torch.save``: a zip file, and before that a run of pickles followed by the storages.

Source: ``torch/serialization.py``, functions ``_save`` and ``_legacy_save``; PKWARE APPNOTE 6.3 for zip files.
"""

from __future__ import annotations

import io
import pickle
import struct
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from deberta_core.checkpoint.errors import AGAIN, CheckpointError
from deberta_core.checkpoint.mapped import FileStream, MappedFile
from deberta_core.checkpoint.pickles import MAX_PICKLE_BYTES, Stream, plain_data
from deberta_core.checkpoint.tensors import DTYPES
from deberta_core.checkpoint.torch_pickle import Storage

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MAX_RATIO = 1040  # deflate cannot do better
_PIECE = 1 << 20  # bytes
LOCAL_HEADER = struct.Struct("<4s5H3L2H")  # of an entry of a zip file


class LegacyContainer:
    """The older container: pickles of magic number, protocol, platform, value and storage keys, then the storages.

    Args:
        file: the open file.

    Raises:
        CheckpointError: damaged.
    """

    big_endian = False  # whatever the platform

    def __init__(self, file: MappedFile) -> None:
        self._file, self._position = file, 0
        self._keys: Any = None
        self._starts: dict[str, int] = {}

    def next(self, read: Callable[[Stream], Any]) -> Any:
        """The value of the next pickle."""
        stream = FileStream(self._file, self._position, MAX_PICKLE_BYTES)
        value = read(stream)
        self._position += stream.tell()
        return value

    def unpickle(self, read: Callable[[Stream], Any], first: Any = None) -> Any:
        """The value.

        Args:
            read: interprets a pickle.
            first: value of the first pickle, where that has been read.
        """
        if self._file.head[:1] != pickle.PROTO:
            problem = "is neither a zip file nor a pickle, as torch.save writes"
            raise CheckpointError(self._file.path, problem, "download or save it again")
        if (first or self.next(read)) != _LEGACY_MAGIC or self.next(read) != _LEGACY_PROTOCOL:
            problem = "is a pickle but not one of torch.save"
            raise CheckpointError(self._file.path, problem, "save the state dict with torch.save or as safetensors")
        self.next(read)  # the platform, which says nothing that is needed
        value, self._keys = self.next(read), self.next(read)
        return value

    def check(self, storages: Mapping[str, Storage]) -> None:
        """Find the storages, which follow the pickles in the order of their keys, each after its length.

        Raises:
            CheckpointError: they are not those that the tensors refer to.
        """
        keys = self._keys
        plain = isinstance(keys, list) and all(isinstance(key, str | int) for key in keys)
        if not plain or {str(key) for key in keys} != storages.keys():
            raise CheckpointError(self._file.path, "lists other storages than its tensors refer to", AGAIN)
        position = self._position
        for key in map(str, keys):
            length, known = int.from_bytes(self._file.read(position, 8), "little"), storages[key]
            if length != known.length or key in self._starts:
                problem = f"storage {key!r} has {length} elements where its pickle says {known.length}"
                raise CheckpointError(self._file.path, problem, AGAIN)
            self._starts[key] = position + 8
            position += 8 + length * DTYPES[known.dtype].raw.itemsize
        self._file.check_range(0, position)

    def view(self, key: str, start: int, nbytes: int) -> np.ndarray:
        """A run of bytes of a storage as uint8, mapped where possible."""
        return self._file.view(self._starts[key] + start, nbytes)


class ZipContainer:
    """The zip container (torch 1.6 and later): a pickle, and an entry for each storage.

    The directory is read by ``zipfile``; each position in it is checked against the file before it is used.

    Args:
        file: the open file.

    Raises:
        CheckpointError: damaged, or claims what the file cannot hold.
    """

    def __init__(self, file: MappedFile) -> None:
        self._file = file
        self._checked: set[str] = set()
        self._unpacked: weakref.WeakValueDictionary[str, np.ndarray] = weakref.WeakValueDictionary()
        try:
            with zipfile.ZipFile(FileStream(file)) as directory:
                infos = directory.infolist()
        except CheckpointError:
            raise
        except Exception as error:  # zipfile lets several kinds through where a directory is damaged
            self._fail(f"its zip directory is missing or damaged ({error})")
        self._entries = {info.filename: info for info in infos}
        if len(self._entries) != len(infos):
            twice = Counter(info.filename for info in infos).most_common(1)[0][0]
            self._fail(f"its zip directory lists {twice!r} twice")
        end = 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            self._check_entry(info)
            # Entries that share their bytes would let a small file claim a large content many times.
            if info.header_offset < end:
                self._fail(f"entry {info.filename!r} overlaps the one before it")
            end = info.header_offset + LOCAL_HEADER.size + info.compress_size
        roots = [name for name in self._entries if name == "data.pkl" or name.endswith("/data.pkl")]
        if "model.weights.h5" in self._entries:
            advice = "load it with tf_keras.models.load_model and save_pretrained, or take its model.weights.h5 out"
            self._fail("is a whole model of Keras, not a file of torch.save", advice)
        if len(roots) != 1:
            self._fail("is a zip file but not one of torch.save: it has no data.pkl", "give a file of torch.save")
        self._prefix = roots[0].removesuffix("data.pkl")
        if self._prefix + "constants.pkl" in self._entries:
            self._fail("is a TorchScript program, not a state dict", "load it with torch.jit and save its state dict")
        order = self._content("byteorder", 16) if self._prefix + "byteorder" in self._entries else b"little"
        if order not in (b"little", b"big"):
            self._fail(f"gives its byte order as {order!r}, where b'little' or b'big' is expected")
        self.big_endian = order == b"big"

    def _fail(self, problem: str, remedy: str = AGAIN) -> NoReturn:
        raise CheckpointError(self._file.path, problem, remedy)

    def _check_entry(self, info: zipfile.ZipInfo) -> None:
        name, packed, size = info.filename, info.compress_size, info.file_size
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            self._fail(f"entry {name!r} is encrypted or packed by method {info.compress_type}", "repack")
        if info.header_offset + LOCAL_HEADER.size + packed > self._file.size or size > packed * _MAX_RATIO + 64:
            self._fail(f"entry {name!r} claims more bytes than the file can hold")
        if info.compress_type == zipfile.ZIP_STORED and size != packed:
            self._fail(f"entry {name!r} is stored as it is and yet has two sizes, {size} and {packed}")

    def unpickle(self, read: Callable[[Stream], Any]) -> Any:
        """The value.

        Args:
            read: interprets a pickle.
        """
        size = self._entries[self._prefix + "data.pkl"].file_size
        if size > MAX_PICKLE_BYTES:
            self._fail(f"has a pickle of {size} bytes, more than {MAX_PICKLE_BYTES}", "save only the state dict")
        return read(io.BytesIO(self._content("data.pkl", size)))

    def check(self, storages: Mapping[str, Storage]) -> None:
        """Refuse tensors whose storages are not there.

        Raises:
            CheckpointError: an entry is missing, or shorter than its pickle says.
        """
        for key, storage in storages.items():
            name = f"{self._prefix}data/{key}"
            if name not in self._entries:
                self._fail(f"lacks the entry {name!r} that its pickle refers to")
            needed = storage.length * DTYPES[storage.dtype].raw.itemsize
            if (held := self._entries[name].file_size) < needed:
                self._fail(f"entry {name!r} has {held} bytes where its pickle says {needed}")
            self._position(self._entries[name])

    def _content(self, leaf: str, most: int) -> bytes:
        name = self._prefix + leaf
        return self._run(name, 0, min(self._entries[name].file_size, most)).tobytes()

    def view(self, key: str, start: int, nbytes: int) -> np.ndarray:
        """A run of bytes of a storage as uint8: mapped where it is stored as it is, unpacked otherwise."""
        return self._run(f"{self._prefix}data/{key}", start, nbytes)

    def _run(self, name: str, start: int, length: int) -> np.ndarray:
        info = self._entries[name]
        if start < 0 or start + length > info.file_size:
            self._fail(f"entry {name!r} has {info.file_size} bytes where {start + length} are needed")
        if info.compress_type == zipfile.ZIP_STORED:
            position = self._position(info)
            if name not in self._checked:
                self._check_sum(info, self._file.view(position, info.file_size))
            return self._file.view(position + start, length)
        content = self._unpacked.get(name)
        if content is None:  # tensors that are windows on one storage share what was unpacked for the first
            content = self._unpacked[name] = self._unpack(info)
        return content[start : start + length]

    def _position(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of an entry begin."""
        # The local header has an extra field of its own, whose length the directory does not say.
        fields = LOCAL_HEADER.unpack(self._file.read(info.header_offset, LOCAL_HEADER.size))
        start: int = info.header_offset + LOCAL_HEADER.size + fields[9] + fields[10]
        if fields[0] != b"PK\x03\x04" or fields[3] != info.compress_type:
            self._fail(f"entry {info.filename!r} does not begin where the zip directory says")
        self._file.check_range(start, info.compress_size)
        return start

    def _unpack(self, info: zipfile.ZipInfo) -> np.ndarray:
        unpacker = zlib.decompressobj(-15)  # a bare stream, without the header of zlib
        packed = self._file.read(self._position(info), info.compress_size)
        content, filled = np.empty(info.file_size, np.uint8), 0
        try:
            while piece := unpacker.decompress(packed, _PIECE):
                packed = unpacker.unconsumed_tail
                filled += len(piece)
                if filled <= info.file_size:
                    content[filled - len(piece) : filled] = np.frombuffer(piece, np.uint8)
        except zlib.error as error:
            self._fail(f"entry {info.filename!r} cannot be unpacked ({error})")
        if filled != info.file_size:
            self._fail(f"entry {info.filename!r} unpacks to another size than the {info.file_size} bytes it claims")
        self._check_sum(info, content)
        return content

    def _check_sum(self, info: zipfile.ZipInfo, content: Any) -> None:
        # torch.save can be told to leave the sums out; it then writes zeros.
        if info.CRC and zlib.crc32(content) != info.CRC:
            self._fail(f"entry {info.filename!r} is damaged: its bytes do not have the checksum that the file gives")
        self._checked.add(info.filename)


def read_data(path: Path) -> Any:
    """What a pickle of nothing but data holds, by itself or in either container of ``torch.save``.

    Raises:
        CheckpointError: the container is damaged.
        PickleError: the pickle is damaged, or holds more than plain data.
    """
    file = MappedFile(path)
    try:
        if file.head[:2] == b"PK":
            return ZipContainer(file).unpickle(plain_data)
        container = LegacyContainer(file)
        first = container.next(plain_data)
        return container.unpickle(plain_data, first) if first == _LEGACY_MAGIC else first
    finally:
        file.close()
