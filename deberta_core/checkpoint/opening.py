"""Opening a checkpoint of any format; the content of a file decides what it is, not its name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from deberta_core.checkpoint.errors import CheckpointError
from deberta_core.checkpoint.h5_reader import H5File, is_h5
from deberta_core.checkpoint.locate import FORMATS, find_weights, is_index
from deberta_core.checkpoint.mapped_file import MappedFile
from deberta_core.checkpoint.safetensors_reader import SafetensorsFile
from deberta_core.checkpoint.shards import ShardedFile
from deberta_core.checkpoint.tensor_file import TensorFile
from deberta_core.checkpoint.torch_containers import open_torch


def open_weights(path: str | os.PathLike[str], *, prefer: Sequence[str] = FORMATS, subfolder: str = "") -> TensorFile:
    """Open a checkpoint: a folder, a weights file, or the index of shards.

    Args:
        path: what to open.
        prefer: formats to look for in a folder, best first.
        subfolder: folder inside the folder.

    Returns:
        The open checkpoint; close it, or use it in a ``with`` statement.

    Raises:
        CheckpointError: damaged, of a wrong kind, or refused for safety.
        FileNotFoundError: no weights there.
    """
    found = find_weights(path, prefer=prefer, subfolder=subfolder)
    return ShardedFile(found, _open_file) if is_index(found) else _open_file(found)


def _open_file(path: Path, expected: list[str] | None = None) -> TensorFile:
    file = MappedFile(path)
    try:
        kind = _recognise(file)
    except BaseException:
        file.close()
        raise
    if kind == "bin":
        return open_torch(file)
    file.close()
    return H5File(path, expected) if kind == "h5" else SafetensorsFile(path)


def _recognise(file: MappedFile) -> str:
    """Format of a file by its first bytes; by its name where they say nothing, for the sake of the error."""
    head = file.read(0, min(16, file.size))
    if is_h5(file):
        return "h5"
    if head[8:9] == b"{":  # after the length of the header, whatever bytes that has
        return "safetensors"
    if head[:2] == b"PK" or head[:1] == b"\x80" or file.path.suffix in (".bin", ".pt", ".pth"):
        return "bin"
    if file.path.suffix in (".h5", ".hdf5"):
        raise CheckpointError(
            file.path, "is not an HDF5 file", "it is cut short or of another kind; download or save it again"
        )
    return "safetensors"
