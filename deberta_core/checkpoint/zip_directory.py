"""Where the entries of a zip file lie, so that they can be mapped; each position is checked against the file.

Source: the ZIP file format specification, PKWARE APPNOTE 6.3, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from deberta_core.checkpoint.errors import CheckpointError
from deberta_core.checkpoint.mapped_file import MappedFile

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_DIRECTORY = 1 << 25  # bytes; some 300,000 entries
_STORED, _DEFLATED = 0, 8
_MAX_RATIO = 1040  # deflate cannot do better


@dataclass(frozen=True)
class ZipEntry:
    """One entry.

    Args:
        header: position of its local header, bytes.
        packed: bytes in the file.
        size: bytes of its content.
        method: 0 stored, 8 deflated.
    """

    header: int
    packed: int
    size: int
    method: int


class ZipDirectory:
    """The table of entries of a zip file.

    Args:
        file: the open file.

    Raises:
        CheckpointError: the table is damaged.
    """

    def __init__(self, file: MappedFile) -> None:
        self._file = file
        try:
            offset, length = self._locate()
            self.entries = self._parse(file.read(offset, length))
        except (struct.error, UnicodeDecodeError) as error:
            raise self._damaged(f"its zip directory is damaged ({error})") from None

    def _damaged(self, problem: str) -> CheckpointError:
        return CheckpointError(self._file.path, problem, "it is cut short or damaged; download or save it again")

    def _locate(self) -> tuple[int, int]:
        tail_length = min(self._file.size, _END.size + (1 << 16) + _END64_LOCATOR.size)
        tail_start = self._file.size - tail_length
        tail = self._file.read(tail_start, tail_length)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0:
            raise self._damaged("its zip directory is missing at the end")
        _, _, _, _, _, length, offset, _ = _END.unpack_from(tail, at)
        locator = at - _END64_LOCATOR.size
        if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
            position = _END64_LOCATOR.unpack_from(tail, locator)[2]
            record = _END64.unpack(self._file.read(position, _END64.size))
            if record[0] != b"PK\x06\x06":
                raise self._damaged("its zip64 directory is not where the file says")
            length, offset = record[8], record[9]
        if length > _MAX_DIRECTORY:
            raise self._damaged(f"its zip directory would take {length} bytes, more than {_MAX_DIRECTORY}")
        return offset, length

    def _parse(self, directory: bytes) -> dict[str, ZipEntry]:
        entries: dict[str, ZipEntry] = {}
        position = 0
        while position < len(directory):
            fields = _CENTRAL.unpack_from(directory, position)
            if fields[0] != b"PK\x01\x02":
                raise self._damaged("its zip directory is damaged")
            name_end = position + _CENTRAL.size + fields[10]
            extra_end = name_end + fields[11]
            name = directory[position + _CENTRAL.size : name_end].decode("utf-8")
            if name in entries:
                raise self._damaged(f"its zip directory lists {name!r} twice")
            entries[name] = self._entry(name, fields, directory[name_end:extra_end])
            position = extra_end + fields[12]
        return entries

    def _entry(self, name: str, fields: tuple[int, ...], extra: bytes) -> ZipEntry:
        flags, method, packed, size, header = fields[3], fields[4], fields[8], fields[9], fields[16]
        wide = iter(_zip64_values(extra))
        try:
            size = next(wide) if size == 0xFFFFFFFF else size
            packed = next(wide) if packed == 0xFFFFFFFF else packed
            header = next(wide) if header == 0xFFFFFFFF else header
        except StopIteration:
            raise self._damaged(f"entry {name!r} has no sizes") from None
        if flags & 1 or method not in (_STORED, _DEFLATED):
            raise CheckpointError(
                self._file.path, f"entry {name!r} is encrypted or packed by method {method}", "repack"
            )
        if header + _LOCAL.size + packed > self._file.size or size > packed * _MAX_RATIO + 64:
            raise self._damaged(f"entry {name!r} claims more bytes than the file can hold")
        if method == _STORED and size != packed:
            raise self._damaged(f"entry {name!r} is stored as it is and yet has two sizes, {size} and {packed}")
        return ZipEntry(header, packed, size, method)

    def position(self, name: str) -> int:
        """Where the bytes of an entry begin.

        Raises:
            CheckpointError: its local header is damaged.
        """
        entry = self.entries[name]
        fields = _LOCAL.unpack(self._file.read(entry.header, _LOCAL.size))
        start: int = entry.header + _LOCAL.size + fields[9] + fields[10]
        if fields[0] != b"PK\x03\x04" or fields[3] != entry.method:
            raise self._damaged(f"entry {name!r} does not begin where the zip directory says")
        self._file.check_range(start, entry.packed)
        return start

    def view(self, name: str, start: int, length: int) -> np.ndarray:
        """A run of an entry's content as uint8: mapped where it is stored as it is, unpacked otherwise.

        Raises:
            CheckpointError: the entry is damaged or shorter.
        """
        entry = self.entries[name]
        if start < 0 or start + length > entry.size:
            raise self._damaged(f"entry {name!r} has {entry.size} bytes where {start + length} are needed")
        if entry.method == _STORED:
            return self._file.view(self.position(name) + start, length)
        content = self._unpack(name)
        return np.frombuffer(content, np.uint8)[start : start + length]

    def _unpack(self, name: str) -> bytes:
        entry = self.entries[name]
        unpacker = zlib.decompressobj(-15)
        try:
            content = unpacker.decompress(self._file.read(self.position(name), entry.packed), entry.size + 1)
        except zlib.error as error:
            raise self._damaged(f"entry {name!r} cannot be unpacked ({error})") from None
        if len(content) != entry.size:
            raise self._damaged(f"entry {name!r} unpacks to another size than the {entry.size} bytes it claims")
        return content


def _zip64_values(extra: bytes) -> tuple[int, ...]:
    """The 64-bit fields of an entry, or none."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1 and position + 4 + length <= len(extra):
            return struct.unpack_from(f"<{length // 8}Q", extra, position + 4)
        position += 4 + length
    return ()
