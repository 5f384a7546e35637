"""Read-only access to a file by offset: views that are mapped, with bounds checked first."""

from __future__ import annotations

import mmap
import os
import stat
import threading
from pathlib import Path

import numpy as np

from deberta_core.checkpoint.errors import AGAIN, CheckpointError

# Below this many bytes a copy is cheaper than a mapping of its own, which also holds a file descriptor.
_MAP_FROM = 1 << 20
_BLOCK = 1 << 12  # bytes that a stream reads ahead
MAX_TABLE = 1 << 25  # bytes of a zip's directory, some 300,000 entries, or of anything else that is read as a stream

_HEADS = (
    (b"version https://git-lfs", "is a git-lfs pointer, not the weights", "fetch the file with `git lfs pull`"),
    (b"<!doctype", "is an HTML page", "download the file itself, not the page that shows it"),
    (b"<html", "is an HTML page", "download the file itself, not the page that shows it"),
    (b"<?xml", "is an XML document", "download the weights again"),
    (b"\x1f\x8b", "is compressed with gzip", "unpack it first"),
    (b"7z\xbc\xaf", "is a 7z archive", "unpack it first"),
    (b"\x93numpy", "is a NumPy array file", "save the weights as safetensors, .bin or .h5"),
)


class MappedFile:
    """A file opened once and read by offset; views stay valid after closing and after the file is replaced.

    Args:
        path: a regular file.

    Raises:
        CheckpointError: not a regular file, empty, or evidently not weights.
        FileNotFoundError: no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
            raise CheckpointError(path, "is not a regular file", "give a file of weights")
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        self._lock = threading.Lock()
        self.size = os.fstat(self._file.fileno()).st_size
        try:
            if self.size == 0:
                raise CheckpointError(path, "is empty (0 bytes)", "download or save it again")
            # Every format is recognised by these bytes, HDF5 behind a user block excepted.
            self.head = self.read(0, min(self.size, 64))
            text = self.head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
            for magic, problem, remedy in _HEADS:
                if text.startswith(magic):
                    raise CheckpointError(path, problem, remedy)
        except BaseException:
            self.close()
            raise

    def read(self, offset: int, length: int) -> bytes:
        """Copy ``length`` bytes from ``offset``.

        Raises:
            CheckpointError: the range is not inside the file.
        """
        self.check_range(offset, length)
        parts = []
        with self._lock:
            self._file.seek(offset)
            while length and (part := self._file.read(length)):
                parts.append(part)
                length -= len(part)
        if length:
            raise CheckpointError(self.path, f"ended {length} bytes early while it was read", "read it again")
        return b"".join(parts)

    def view(self, offset: int, length: int) -> np.ndarray:
        """Bytes of the file as a read-only uint8 array, mapped where that pays.

        Every large view has a mapping of its own, so that its memory goes back when the array does.

        Raises:
            CheckpointError: the range is not inside the file.
        """
        self.check_range(offset, length)
        if length < _MAP_FROM:
            return np.frombuffer(self.read(offset, length), np.uint8)
        skip = offset % mmap.ALLOCATIONGRANULARITY  # a mapping begins at a page
        try:
            mapping = mmap.mmap(self._file.fileno(), length + skip, access=mmap.ACCESS_READ, offset=offset - skip)
        except OSError:  # out of mappings or descriptors, or a file system without them
            return np.frombuffer(self.read(offset, length), np.uint8)
        return np.frombuffer(mapping, np.uint8, length, skip)

    def check_range(self, offset: int, length: int) -> None:
        """Refuse a range that is not inside the file.

        Raises:
            CheckpointError: it is not.
        """
        if offset < 0 or length < 0 or offset + length > self.size:
            raise CheckpointError(
                self.path,
                f"bytes {offset} to {offset + length} are asked for but the file has {self.size}",
                AGAIN,
            )

    def close(self) -> None:
        """Close the file; views stay valid."""
        self._file.close()


class FileStream:
    """A run of a mapped file as a stream, for ``zipfile`` and pickles; it reads short where the run ends.

    Args:
        file: file to read.
        start: first byte, position 0 of the stream.
        most: bytes of the run, and of the longest read: a reader that trusts a length in the file is given no memory
            for what is not there.
    """

    def __init__(self, file: MappedFile, start: int = 0, most: int | None = None) -> None:
        self._file, self._start = file, start
        self._size = file.size - start if most is None else max(0, min(file.size - start, most))
        self._at = self._block_at = 0
        self._block = b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, counted from the start, from here or from the end."""
        self._at = offset + (0, self._at, self._size)[whence]
        if self._at < 0:
            raise OSError("a position before the file")
        return self._at

    def tell(self) -> int:
        """Position in the stream."""
        return self._at

    def read(self, length: int = -1) -> bytes:
        """Up to ``length`` bytes, by default all that are left.

        Raises:
            CheckpointError: so many that it must be damage.
        """
        left = max(0, self._size - self._at)
        length = left if length < 0 else min(length, left)
        if length > MAX_TABLE:
            raise CheckpointError(self._file.path, f"has a table of {length} bytes, more than {MAX_TABLE}", AGAIN)
        begin = self._at - self._block_at
        if not 0 <= begin <= begin + length <= len(self._block):
            self._block = self._file.read(self._start + self._at, min(left, max(length, _BLOCK)))
            self._block_at, begin = self._at, 0
        self._at += length
        return self._block[begin : begin + length]

    def readline(self) -> bytes:
        """Bytes to the next newline, included, or none; names of globals, which are all lines there are, are short."""
        block = self.read(_BLOCK)
        end = block.find(b"\n") + 1
        self._at += end - len(block)
        return block[:end]
