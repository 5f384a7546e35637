"""The weights of a folder: found, opened whatever their format, and written, all files together or none."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from deberta_core.checkpoint.errors import CheckpointError
from deberta_core.checkpoint.h5_names import H5Layout
from deberta_core.checkpoint.keras_h5 import H5File
from deberta_core.checkpoint.mapped import MappedFile
from deberta_core.checkpoint.safetensors import SafetensorsFile
from deberta_core.checkpoint.shards import ShardedFile, parse_size, split
from deberta_core.checkpoint.tensors import (
    DTYPES,
    MAX_RANK,
    Format,
    Source,
    TensorFile,
    TensorInfo,
    WriteRequest,
    is_text,
)
from deberta_core.checkpoint.torch_bin import TorchFile
from deberta_core.file_names import EXPORT, WEIGHTS, belongs_to, index_name, is_index, weights_files, weights_name
from deberta_core.files import Reading, Replacement, read_together
from deberta_core.wording import some

FORMATS: dict[str, type[Format]] = {"safetensors": SafetensorsFile, "bin": TorchFile, "h5": H5File}
_MAX_NAME = 4096  # characters; far below the limit of HDF5


def place(path: str | os.PathLike[str], subfolder: str = "") -> tuple[Path, str | None]:
    """The folder of a checkpoint, and the name of its file where the path leads to a file.

    Raises:
        ValueError: ``subfolder`` leads out of the folder.
    """
    if os.path.isabs(subfolder) or ".." in Path(subfolder).parts:
        raise ValueError(f"subfolder {subfolder!r} leads out of the folder; expected a folder inside it")
    where = Path(path) / subfolder
    return (where.parent, where.name) if where.is_file() else (where, None)


def find_weights(
    folder_or_file: str | os.PathLike[str], *, prefer: Sequence[str] = tuple(WEIGHTS), subfolder: str = ""
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
    folder, name = place(folder_or_file, subfolder)
    return folder / (name or choose_weights(Reading(folder), prefer))


def choose_weights(reading: Reading, prefer: Sequence[str], variant: str | None = None) -> str:
    """Name of the file, or of the index, that a folder is to be read from; as ``find_weights``.

    Args:
        reading: of the folder.
        prefer: formats, best first.
        variant: take ``model.<variant>.safetensors`` and the like, and no others.
    """
    wanted = weights_files(prefer, variant)
    for name in wanted:
        if name in reading:
            return name
    folder = reading.folder
    if not folder.is_dir():
        raise FileNotFoundError(f"no weights at {folder}: there is no such file or folder")
    if EXPORT in reading:
        raise FileNotFoundError(f"no weights in {folder}: it is an exported graph; give the model that it was made of")
    there = sorted(entry.name for entry in folder.iterdir())
    shown = some(there, 20) or "nothing"
    raise FileNotFoundError(f"no weights in {folder}: looked for {', '.join(wanted)}; there is {shown}")


def open_weights(
    path: str | os.PathLike[str], *, prefer: Sequence[str] = tuple(WEIGHTS), subfolder: str = ""
) -> TensorFile:
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
    folder, name = place(path, subfolder)
    return read_together(folder, lambda reading: open_one(reading, name or choose_weights(reading, prefer)))


def open_one(reading: Reading, name: str, formats: Sequence[type[Format]] = tuple(FORMATS.values())) -> TensorFile:
    """Open one file of weights, or the shards of an index.

    Args:
        reading: of the folder.
        name: of the file or index.
        formats: that it may be of.

    Raises:
        CheckpointError: as ``open_weights``.
    """
    if is_index(name):
        return ShardedFile(reading, name, lambda path, expected: open_file(path, formats, expected))
    return open_file(reading.place(name), formats)


def open_file(path: Path, formats: Sequence[type[Format]], expected: Sequence[str] | None = None) -> TensorFile:
    """Open one file; its content decides what it is, and its name only for the sake of the error."""
    file = MappedFile(path)
    try:
        for kind in formats:
            if kind.recognise(file):
                return kind(file, expected)
        by_name = [kind for kind in formats if path.suffix in kind.suffixes]
        return by_name[0](file, expected) if by_name else SafetensorsFile(file, expected)
    except BaseException:
        file.close()
        raise


def write_weights(
    folder: str | os.PathLike[str] | Replacement,
    tensors: Iterable[tuple[TensorInfo, Source]],
    *,
    format: str = "safetensors",
    naming: str = "pt",
    metadata: Mapping[str, str] | None = None,
    max_shard_size: int | str | None = None,
    h5: H5Layout | None = None,
    aliases: Mapping[str, str] | None = None,
    file_name: str | None = None,
    instead_of: Collection[str] = (),
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write weights into a folder, in place of what it held of the same format.

    Tensors are asked for one at a time. Files get temporary names in the folder and are renamed at the end; whatever
    fails before, the folder is as it was.

    Args:
        folder: made if it does not exist; or the commit that the files are to be part of.
        tensors: name, shape and type of each, with the array or a function that makes it; bfloat16 as uint16 bits.
        format: ``"safetensors"``, ``"bin"`` or ``"h5"``.
        naming: ``"pt"`` or ``"tf"``: whose names these are; h5 is always ``"tf"``, .bin always ``"pt"``.
        metadata: texts for the header of safetensors files, besides ``format``; other formats have no place for them.
        max_shard_size: bytes of tensors per file, or a text such as ``"5GB"``; None for one file.
        h5: layers of the model; needed for h5.
        aliases: further names of tensors that are the very same; for .bin alone, which stores such tensors once.
        file_name: name of the weights file instead of the usual one.
        instead_of: names of weights files that go, with their shards: those that a reader would take before this one.
        progress: told the number of bytes after each run that was written.

    Returns:
        The files written; the index last, where there are shards.

    Raises:
        CheckpointError: the format has no place for a tensor's type or name.
        ValueError: arguments that contradict each other, or data that is not as announced.
        OSError: the disk is full or the folder cannot be written to.
    """
    sources = {}
    infos = []
    for info, source in tensors:
        infos.append(info)
        sources[info.name] = source
    aliases = dict(aliases or {})
    single = weights_name(format)
    name, kind = file_name or single, FORMATS[format]
    target = folder.folder if isinstance(folder, Replacement) else Path(folder)
    _check(target / name, kind, infos, naming, h5, aliases)
    limit = None if max_shard_size is None else parse_size(max_shard_size)
    ordered = kind.arrange(infos)
    parts = {name: ordered} if limit is None else split(ordered, name, limit)
    with contextlib.nullcontext(folder) if isinstance(folder, Replacement) else Replacement(target) as files:
        files.check_space(sum(info.nbytes for info in infos))
        weight_map: dict[str, str] = {}
        for file, part in parts.items():
            held = {info.name for info in part}
            own = {alias: first for alias, first in aliases.items() if first in held}
            weight_map |= dict.fromkeys((*(info.name for info in part), *own), file)
            kind.write(WriteRequest(
                files.create(file), file, [(info, sources[info.name]) for info in part], naming, dict(metadata or {}),
                h5 if len(parts) == 1 else None, own, progress or (lambda nbytes: None),
            ))  # fmt: skip
        if len(parts) > 1:
            files.write(index_name(name), _index(infos, weight_map))
        stale = [there for there in os.listdir(target) if any(belongs_to(there, one) for one in (name, *instead_of))]
        # The index goes first: shards without an index are never read.
        files.drop(sorted(stale, key=lambda there: not is_index(there)))
        names = [*parts, *([index_name(name)] if len(parts) > 1 else [])]
        if files is not folder:
            files.commit()
    return [target / file for file in names]


def _check(
    path: Path, kind: type[Format], infos: Sequence[TensorInfo], naming: str, h5: H5Layout | None,
    aliases: Mapping[str, str],
) -> None:  # fmt: skip
    """Refuse what cannot be written before a file is touched."""
    format, fixed = kind.format, kind.fixed_naming or naming
    if naming not in ("pt", "tf") or naming != fixed:
        raise ValueError(f"naming {naming!r} does not go with format {format!r}; expected {fixed!r}")
    if format == "h5" and h5 is None:
        raise ValueError("writing h5 needs the layers of the model; give h5=H5Layout(...)")
    if aliases and format != "bin":
        raise ValueError(f"aliases are for .bin files; write them as tensors of their own into {format}")
    names = Counter(info.name for info in infos)
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise ValueError(f"tensors are given twice: {', '.join(twice)}")
    for alias, first in aliases.items():
        if alias in names or first not in names:
            raise ValueError(f"alias {alias!r} of {first!r} does not lead from a new name to a written tensor")
    for info in infos:
        if info.dtype not in DTYPES:
            raise ValueError(f"tensor {info.name!r} has type {info.dtype!r}; expected one of {', '.join(DTYPES)}")
        if len(info.shape) > MAX_RANK or any(size < 0 for size in info.shape):
            raise ValueError(f"tensor {info.name!r} has the shape {info.shape}; expected at most {MAX_RANK} sizes")
        problem = kind.has_place_for(info)
        if problem == "type":
            raise CheckpointError(path, f"{format} cannot hold tensor {info.name!r} of type {info.dtype}", "cast it")
        if problem == "name" or not is_text(info.name) or "\0" in info.name or len(info.name) > _MAX_NAME:
            text = f"{format} cannot hold a tensor of the name {info.name[:200]!r}"
            raise CheckpointError(path, text, "rename it")
    if format == "h5" and h5 is not None:
        h5.by_layer(list(names))


def _index(infos: Sequence[TensorInfo], weight_map: Mapping[str, str]) -> str:
    count, size = sum(math.prod(info.shape) for info in infos), sum(info.nbytes for info in infos)
    content = {
        "metadata": {"total_parameters": count, "total_size": size}, "weight_map": dict(sorted(weight_map.items()))
    }  # fmt: skip
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
