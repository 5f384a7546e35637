"""What goes into which file before anything is written: tensors by shard, names of shards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deberta_core.checkpoint.tensor_file import TensorInfo

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", re.IGNORECASE)


def parse_size(size: int | str) -> int:
    """Bytes of a size.

    Args:
        size: a number of bytes, or a text such as ``"5GB"`` (10^9) or ``"200MiB"`` (2^20).

    Raises:
        ValueError: not a size, or not above zero.
    """
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match is None:
            raise ValueError(f"size {size!r} is not understood; expected a number of bytes or a text such as '5GB'")
        bytes_ = int(float(match[1]) * _UNITS[(match[2] or "").upper()])
    else:
        bytes_ = size
    if bytes_ <= 0:
        raise ValueError(f"size {size!r} is not above zero")
    return bytes_


@dataclass(frozen=True)
class Part:
    """One file to write: its name and the tensors in it."""

    file_name: str
    infos: tuple[TensorInfo, ...]


def split(infos: Sequence[TensorInfo], file_name: str, max_shard_size: int | None) -> list[Part]:
    """Distribute tensors over files in their order.

    Args:
        infos: all tensors.
        file_name: name of the single file, such as ``model.safetensors``.
        max_shard_size: bytes of tensors per file; a larger tensor has a file to itself. None for one file.

    Returns:
        One part called ``file_name``, or several called ``model-00001-of-00003.safetensors`` and so on.
    """
    groups: list[list[TensorInfo]] = [[]]
    used = 0
    for info in infos:
        if max_shard_size is not None and groups[-1] and used + info.nbytes > max_shard_size:
            groups.append([])
            used = 0
        groups[-1].append(info)
        used += info.nbytes
    if len(groups) == 1:
        return [Part(file_name, tuple(groups[0]))]
    stem, _, suffix = file_name.rpartition(".")
    count = len(groups)
    return [
        Part(f"{stem}-{number:05d}-of-{count:05d}.{suffix}", tuple(group)) for number, group in enumerate(groups, 1)
    ]


def is_shard_of(name: str, file_name: str) -> bool:
    """Whether a file name is that of a shard of ``file_name``."""
    stem, _, suffix = file_name.rpartition(".")
    return re.fullmatch(rf"{re.escape(stem)}-\d{{5}}-of-\d{{5}}\.{re.escape(suffix)}", name) is not None
