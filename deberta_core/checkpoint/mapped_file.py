"""Read-only access to a file by offset: views that are mapped, with bounds checked first."""

from __future__ import annotations

import mmap
import os
import stat
import threading
from pathlib import Path

import numpy as np

from deberta_core.checkpoint.errors import CheckpointError

# Below this many bytes a copy is cheaper than a mapping of its own, which also holds a file descriptor.
_MAP_FROM = 1 << 20

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
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise CheckpointError(path, "is not a regular file", "give a file of weights")
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        self._lock = threading.Lock()
        self.size = os.fstat(self._file.fileno()).st_size
        try:
            self._refuse_other_kinds()
        except CheckpointError:
            self.close()
            raise

    def _refuse_other_kinds(self) -> None:
        if self.size == 0:
            raise CheckpointError(self.path, "is empty (0 bytes)", "download or save it again")
        head = self.read(0, min(self.size, 64)).lstrip(b"\xef\xbb\xbf \r\n\t").lower()
        for magic, problem, remedy in _HEADS:
            if head.startswith(magic):
                raise CheckpointError(self.path, problem, remedy)

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
        skip = offset % mmap.ALLOCATIONGRANULARITY
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
                "it is cut short or damaged; download or save it again",
            )

    def close(self) -> None:
        """Close the file; views stay valid."""
        self._file.close()


def as_array(view: np.ndarray, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> np.ndarray:
    """Interpret a view's bytes as a dense tensor in native byte order.

    Args:
        view: uint8, as long as the tensor.
        dtype: stored element type with its byte order.
        shape: shape of the tensor.

    Returns:
        A read-only array; a copy only where bytes are swapped or lie unaligned.
    """
    array = view.view(dtype).reshape(shape)
    if not array.flags.aligned or not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="), copy=True)
    array.flags.writeable = False
    return array
