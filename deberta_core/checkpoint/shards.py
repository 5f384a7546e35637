"""A checkpoint split into shards: which tensor goes into which, and all read through their index as one file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from deberta_core.checkpoint.errors import CheckpointError
from deberta_core.checkpoint.h5_names import strip_classes
from deberta_core.checkpoint.mapped import MappedFile
from deberta_core.checkpoint.tensors import TensorFile, TensorInfo, recognise_naming
from deberta_core.file_names import shard_name
from deberta_core.files import Reading
from deberta_core.wording import some

_MAX_INDEX = 1 << 26  # bytes
_MAX_SHARDS = 1024
_OF_ONE_MODEL = "get index and shards of one model"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", re.IGNORECASE)
_DAMAGED = "the index is damaged or was edited; download or save the checkpoint again"


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


def split(infos: Sequence[TensorInfo], file_name: str, max_shard_size: int) -> dict[str, Sequence[TensorInfo]]:
    """Distribute tensors over files in their order.

    Args:
        infos: all tensors.
        file_name: name of the single file, such as ``model.safetensors``.
        max_shard_size: bytes of tensors per file; a larger tensor has a file to itself.

    Returns:
        Tensors by file: one called ``file_name``, or several called ``model-00001-of-00003.safetensors`` and so on.
    """
    groups: list[list[TensorInfo]] = [[]]
    used = 0
    for info in infos:
        if groups[-1] and used + info.nbytes > max_shard_size:
            groups.append([])
            used = 0
        groups[-1].append(info)
        used += info.nbytes
    if len(groups) == 1:
        return {file_name: groups[0]}
    return {shard_name(file_name, number, len(groups)): group for number, group in enumerate(groups, 1)}


def read_index(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Weight map and metadata of an index file.

    Args:
        path: the ``.index.json``.

    Returns:
        Weight name to shard file name, and metadata as texts.

    Raises:
        CheckpointError: not an index, or one that leads out of its folder.
    """
    file = MappedFile(path)
    try:
        if file.size > _MAX_INDEX:
            raise CheckpointError(path, f"has {file.size} bytes, more than an index of shards takes", _DAMAGED)
        text = file.read(0, file.size)
    finally:
        file.close()
    try:
        index = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, f"is not valid JSON ({error})", _DAMAGED) from None
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        raise CheckpointError(path, "has no weight_map from weights to shard files", _DAMAGED)
    metadata = index.get("metadata", {})
    return weight_map, {k: str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {}


class ShardedFile(TensorFile):
    """Shards and their index, checked to belong together.

    Args:
        reading: finds the files of the folder.
        name: of the index file.
        open_shard: opens one shard, given its path and the names it should hold.

    Raises:
        CheckpointError: the index leads out of its folder, or shards and index do not agree.
    """

    def __init__(self, reading: Reading, name: str, open_shard: Callable[[Path, list[str]], TensorFile]) -> None:
        index = reading.place(name)
        self.paths = (index,)
        self._shards: list[TensorFile] = []
        weight_map, self.metadata = read_index(index)
        names: dict[str, list[str]] = {}
        # TensorFlow's indexes come with and without the class name of the model.
        for weight, file_name in zip(strip_classes(list(weight_map)), weight_map.values(), strict=True):
            names.setdefault(file_name, []).append(weight)
        paths = self._find_shards(reading, index, sorted(names))
        try:
            for file_name, path in paths.items():
                self._shards.append(open_shard(path, names[file_name]))
            self._owner = self._check_contents(names, list(paths))
            self._combine(index, list(paths.values()))
        except BaseException:
            self.close()
            raise

    def _fail(self, problem: str, remedy: str = _DAMAGED) -> NoReturn:
        super()._fail(problem, remedy)

    def _find_shards(self, reading: Reading, index: Path, file_names: list[str]) -> dict[str, Path]:
        if len(file_names) > _MAX_SHARDS:
            self._fail(f"lists {len(file_names)} shards, more than {_MAX_SHARDS}")
        for name in file_names:
            if name in ("", ".", "..") or any(sign in name for sign in "/\\:\0"):
                self._fail(f"lists the shard {name!r}, which is not a plain file name in its own folder; refused")
        found = {name: reading.place(name) for name in file_names}
        if missing := [name for name, path in found.items() if not os.path.lexists(path)]:
            self._fail(f"lists shards that are missing: {some(missing)}", "download them into the same folder")
        # A download cache links index and shards alike into one other folder: that is inside, too.
        inside = {reading.folder.resolve(), index.resolve().parent}
        for name, path in found.items():
            if path.is_symlink() and path.resolve().parent not in inside:
                problem = f"lists the shard {name!r}, a link that leads out of the folder; refused"
                self._fail(problem, "copy the file itself")
        return found

    def _check_contents(self, names: dict[str, list[str]], file_names: list[str]) -> dict[str, TensorFile]:
        owner: dict[str, TensorFile] = {}
        for file_name, shard in zip(file_names, self._shards, strict=True):
            there = shard.tensors.keys() | shard.skipped.keys()
            if absent := [repr(name) for name in names[file_name] if name not in there]:
                self._fail(f"says that {file_name} holds {some(absent, 4)}, but it does not", _OF_ONE_MODEL)
            for name in shard.tensors:
                if name in owner:
                    self._fail(f"has the weight {name!r} in two shards, {owner[name].paths[0].name} and {file_name}")
                owner[name] = shard
            listed = set(names[file_name])
            if extra := [repr(name) for name in shard.tensors if name not in listed]:
                self._fail(f"does not list {some(extra, 4)} of {file_name}", _OF_ONE_MODEL)
        return owner

    def _combine(self, index: Path, paths: list[Path]) -> None:
        formats = {shard.format for shard in self._shards}
        if len(formats) > 1:
            self._fail(f"mixes shards of the formats {', '.join(sorted(formats))}")
        self.format = self._shards[0].format
        self.paths = (index, *paths)
        self.tensors = {name: info for shard in self._shards for name, info in shard.tensors.items()}
        namings = {shard.naming for shard in self._shards}
        self.naming = namings.pop() if len(namings) == 1 else recognise_naming(self.tensors)
        self.skipped = {name: kind for shard in self._shards for name, kind in shard.skipped.items()}
        self.aliases = {name: first for shard in self._shards for name, first in shard.aliases.items()}
        self.metadata = {**{k: text for shard in self._shards for k, text in shard.metadata.items()}, **self.metadata}
        self.notes = tuple(dict.fromkeys(note for shard in self._shards for note in shard.notes))

    def _load(self, name: str) -> np.ndarray:
        return self._owner[name].read_raw(name)

    def close(self) -> None:
        """Close all shards; arrays that were read stay valid."""
        for shard in self._shards:
            shard.close()

    def keep_open(self) -> None:
        """Let ``close`` do nothing, as of one file."""
        for shard in self._shards:
            shard.keep_open()
