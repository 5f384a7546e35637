"""Writer of PyTorch's .bin files: the zip container of ``torch.save``, with a pickle of nothing but tensors by name.

Source: ``torch/serialization.py``, function ``_save``, and the opcode list of ``pickletools``.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deberta_core.checkpoint.dtypes import DTYPES, element_count
from deberta_core.checkpoint.streams import Sender, Source
from deberta_core.checkpoint.tensor_file import TensorInfo

_ALIGNMENT = 64
_PADDING = 0x4246  # "FB", the extra field that torch.save pads with
_LOCAL_HEADER, _ZIP64_FIELD, _FIELD_HEADER = 30, 20, 4


def write_bin(
    path: Path,
    tensors: Sequence[tuple[TensorInfo, Source]],
    aliases: Mapping[str, str],
    archive: str,
    progress: Callable[[int], None],
) -> None:
    """Write one file that ``torch.load(weights_only=True)`` reads.

    Args:
        path: an existing empty file.
        tensors: in the order of the file.
        aliases: further names to tensors among these that are the very same.
        archive: folder inside the zip file, by custom the file's name without suffix.
        progress: told the number of bytes after each run that was written.
    """
    content = _pickle([info for info, _ in tensors], aliases)
    with open(path, "wb") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as file, Sender(progress) as sender:
        _write_entry(file, f"{archive}/data.pkl", content)
        _write_entry(file, f"{archive}/byteorder", b"little")
        for number, (info, source) in enumerate(tensors):
            with file.open(_entry(file, f"{archive}/data/{number}"), "w", force_zip64=True) as entry:
                sender.send(info, source, entry.write)
        _write_entry(file, f"{archive}/version", b"3\n")


def _entry(file: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """An entry whose content begins at a multiple of 64 bytes, so that it can be mapped."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    start = file.fp.tell() if file.fp else 0
    used = start + _LOCAL_HEADER + len(name.encode()) + _ZIP64_FIELD + _FIELD_HEADER
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
    identity = [_text("storage"), _global("torch", storage), _text(key), _text("cpu"), _int(element_count(shape))]
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
