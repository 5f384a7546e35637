"""Which file of a folder holds the weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

FORMATS = ("safetensors", "bin", "h5")
_STEMS = {"safetensors": "model.safetensors", "bin": "pytorch_model.bin", "h5": "tf_model.h5"}
_INDEX = ".index.json"


def weights_name(format: str) -> str:
    """Usual name of a single weights file of a format.

    Args:
        format: ``"safetensors"``, ``"bin"`` or ``"h5"``.

    Raises:
        ValueError: another format.
    """
    if format not in _STEMS:
        raise ValueError(f"unknown weights format {format!r}; expected one of {', '.join(FORMATS)}")
    return _STEMS[format]


def index_name(file_name: str) -> str:
    """Name of the index that stands in for a weights file when it is split into shards."""
    return file_name + _INDEX


def is_index(path: Path) -> bool:
    """Whether a path is named like the index of shards."""
    return path.name.endswith(_INDEX)


def find_weights(
    folder_or_file: str | os.PathLike[str], *, prefer: Sequence[str] = FORMATS, subfolder: str = ""
) -> Path:
    """The weights file, or the index of shards, that a folder is to be read from.

    Args:
        folder_or_file: folder of a model; or one file, which is returned as it is.
        prefer: formats to look for, best first; others are not taken.
        subfolder: folder inside the folder.

    Returns:
        Path of an existing file.

    Raises:
        FileNotFoundError: none there; the text lists what was looked for and what is there.
        ValueError: unknown format in ``prefer``, or ``subfolder`` leads out of the folder.
    """
    if os.path.isabs(subfolder) or ".." in Path(subfolder).parts:
        raise ValueError(f"subfolder {subfolder!r} leads out of the folder; expected a folder inside it")
    path = Path(folder_or_file) / subfolder
    if path.is_file():
        return path
    wanted = [name for format in prefer for name in (weights_name(format), index_name(weights_name(format)))]
    if not path.is_dir():
        raise FileNotFoundError(f"no weights at {path}: there is no such file or folder")
    for name in wanted:
        if (path / name).is_file():
            return path / name
    there = sorted(entry.name for entry in path.iterdir())
    shown = ", ".join(there[:20]) + (f" and {len(there) - 20} more" if len(there) > 20 else "")
    raise FileNotFoundError(f"no weights in {path}: looked for {', '.join(wanted)}; there is {shown or 'nothing'}")
