"""Writing a checkpoint of any format: all its files together or none."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deberta_core.checkpoint.atomic import Replacement
from deberta_core.checkpoint.dtypes import DTYPES, element_count
from deberta_core.checkpoint.errors import CheckpointError
from deberta_core.checkpoint.h5_writer import H5Layout, write_h5, write_h5_shard
from deberta_core.checkpoint.locate import index_name, weights_name
from deberta_core.checkpoint.plan import Part, is_shard_of, parse_size, split
from deberta_core.checkpoint.safetensors_writer import order, write_safetensors
from deberta_core.checkpoint.streams import Source
from deberta_core.checkpoint.tensor_file import TensorInfo, is_text
from deberta_core.checkpoint.torch_writer import write_bin

_MAX_RANK = 32  # of HDF5 and of older NumPy
_MAX_NAME = 4096  # characters; far below the limit of HDF5


def write_weights(
    folder: str | os.PathLike[str],
    tensors: Iterable[tuple[TensorInfo, Source]],
    *,
    format: str = "safetensors",
    naming: str = "pt",
    metadata: Mapping[str, str] | None = None,
    max_shard_size: int | str | None = None,
    h5: H5Layout | None = None,
    aliases: Mapping[str, str] | None = None,
    file_name: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write weights into a folder, in place of what it held of the same format.

    Tensors are asked for one at a time. Files get temporary names in the folder and are renamed at the end; whatever
    fails before, the folder is as it was.

    Args:
        folder: made if it does not exist.
        tensors: name, shape and type of each, with the array or a function that makes it; bfloat16 as uint16 bits.
        format: ``"safetensors"``, ``"bin"`` or ``"h5"``.
        naming: ``"pt"`` or ``"tf"``: whose names these are; h5 is always ``"tf"``, .bin always ``"pt"``.
        metadata: texts for the header of safetensors files, besides ``format``; other formats have no place for them.
        max_shard_size: bytes of tensors per file, or a text such as ``"5GB"``; None for one file.
        h5: layers of the model; needed for h5.
        aliases: further names of tensors that are the very same; for .bin alone, which stores such tensors once.
        file_name: name of the weights file instead of the usual one.
        progress: told the number of bytes after each run that was written.

    Returns:
        The files written; the index last, where there are shards.

    Raises:
        CheckpointError: the format has no place for a tensor's type or name.
        ValueError: arguments that contradict each other, or data that is not as announced.
        OSError: the disk is full or the folder cannot be written to.
    """
    entries = list(tensors)
    job = _Job(Path(folder), format, naming, dict(metadata or {}), h5, dict(aliases or {}), progress or _ignore)
    job.check([info for info, _ in entries])
    infos = [info for info, _ in entries]
    limit = None if max_shard_size is None else parse_size(max_shard_size)
    parts = split(order(infos) if format == "safetensors" else infos, file_name or weights_name(format), limit)
    return job.write(parts, {info.name: source for info, source in entries}, file_name or weights_name(format))


def _ignore(_: int) -> None:
    """Progress that nobody asked for."""


@dataclass(frozen=True)
class _Job:
    folder: Path
    format: str
    naming: str
    metadata: dict[str, str]
    h5: H5Layout | None
    aliases: dict[str, str]
    progress: Callable[[int], None]

    def check(self, infos: Sequence[TensorInfo]) -> None:
        """Refuse what cannot be written before a file is touched."""
        weights_name(self.format)
        fixed = {"bin": "pt", "h5": "tf"}.get(self.format, self.naming)
        if self.naming not in ("pt", "tf") or self.naming != fixed:
            raise ValueError(f"naming {self.naming!r} does not go with format {self.format!r}; expected {fixed!r}")
        if self.format == "h5" and self.h5 is None:
            raise ValueError("writing h5 needs the layers of the model; give h5=H5Layout(...)")
        if self.aliases and self.format != "bin":
            raise ValueError(f"aliases are for .bin files; write them as tensors of their own into {self.format}")
        names = {info.name for info in infos}
        if len(names) != len(infos):
            counts = Counter(info.name for info in infos)
            twice = sorted(name for name, count in counts.items() if count > 1)
            raise ValueError(f"tensors are given twice: {', '.join(twice)}")
        for alias, first in self.aliases.items():
            if alias in names or first not in names:
                raise ValueError(f"alias {alias!r} of {first!r} does not lead from a new name to a written tensor")
        for info in infos:
            self._check_tensor(info)
        if self.format == "h5" and self.h5 is not None:
            self.h5.by_layer([info.name for info in infos])

    def _check_tensor(self, info: TensorInfo) -> None:
        if info.dtype not in DTYPES:
            raise ValueError(f"tensor {info.name!r} has type {info.dtype!r}; expected one of {', '.join(DTYPES)}")
        if len(info.shape) > _MAX_RANK or any(size < 0 for size in info.shape):
            raise ValueError(f"tensor {info.name!r} has the shape {info.shape}; expected at most {_MAX_RANK} sizes")
        row = DTYPES[info.dtype]
        fits = {"safetensors": row.safetensors, "bin": row.torch_storage, "h5": info.dtype != "bfloat16"}[self.format]
        path = self.folder / weights_name(self.format)
        if not fits:
            raise CheckpointError(
                path, f"{self.format} cannot hold tensor {info.name!r} of type {info.dtype}", "cast it"
            )
        parts = info.name.split("/") if self.format == "h5" else [info.name]
        reserved = {"safetensors": {"__metadata__"}, "bin": set(), "h5": {"", "."}}[self.format]
        if reserved & set(parts) or not is_text(info.name) or "\0" in info.name or len(info.name) > _MAX_NAME:
            raise CheckpointError(
                path, f"{self.format} cannot hold a tensor of the name {info.name[:200]!r}", "rename it"
            )

    def write(self, parts: Sequence[Part], sources: Mapping[str, Source], file_name: str) -> list[Path]:
        """Write all parts and put them in place."""
        self.folder.mkdir(parents=True, exist_ok=True)
        total = sum(info.nbytes for part in parts for info in part.infos)
        self._check_space(total)
        with Replacement(self.folder) as files:
            try:
                for part in parts:
                    self._write_part(files.create(part.file_name), part, sources, whole=len(parts) == 1)
                if len(parts) > 1:
                    files.create(index_name(file_name)).write_text(self._index(parts, total), encoding="utf-8")
                return files.commit(self._stale(parts, file_name))
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise _disk_full(self.folder, total) from error
                raise

    def _check_space(self, total: int) -> None:
        if shutil.disk_usage(self.folder).free < total:
            raise _disk_full(self.folder, total)

    def _write_part(self, path: Path, part: Part, sources: Mapping[str, Source], *, whole: bool) -> None:
        tensors = [(info, sources[info.name]) for info in part.infos]
        if self.format == "safetensors":
            write_safetensors(path, tensors, {**self.metadata, "format": self.naming}, self.progress)
        elif self.format == "bin":
            write_bin(path, tensors, self._aliases_in(part), part.file_name.rpartition(".")[0], self.progress)
        elif whole and self.h5 is not None:
            write_h5(path, tensors, self.h5, self.progress)
        else:
            write_h5_shard(path, tensors, self.progress)

    def _aliases_in(self, part: Part) -> dict[str, str]:
        names = {info.name for info in part.infos}
        return {alias: first for alias, first in self.aliases.items() if first in names}

    def _index(self, parts: Sequence[Part], total: int) -> str:
        weight_map = {}
        for part in parts:
            for name in (*(info.name for info in part.infos), *self._aliases_in(part)):
                weight_map[name] = part.file_name
        count = sum(element_count(info.shape) for part in parts for info in part.infos)
        index = {
            "metadata": {"total_parameters": count, "total_size": total},
            "weight_map": dict(sorted(weight_map.items())),
        }
        return json.dumps(index, indent=2, ensure_ascii=False) + "\n"

    def _stale(self, parts: Sequence[Part], file_name: str) -> list[str]:
        new = {part.file_name for part in parts} | ({index_name(file_name)} if len(parts) > 1 else set())
        own = (name for name in os.listdir(self.folder) if is_shard_of(name, file_name))
        # The index goes first: shards without an index are never read.
        candidates = [index_name(file_name), file_name, *sorted(own)]
        return [name for name in candidates if name not in new]


def _disk_full(folder: Path, total: int) -> OSError:
    free = shutil.disk_usage(folder).free
    text = f"no space for {total / 1e9:.2f} GB of weights ({free / 1e9:.2f} GB are free); nothing was changed"
    return OSError(errno.ENOSPC, text, os.fspath(folder))
