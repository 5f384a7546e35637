"""A checkpoint split into shards, read through its index as if it were one file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from deberta_core.checkpoint.errors import CheckpointError
from deberta_core.checkpoint.h5_names import strip_classes
from deberta_core.checkpoint.mapped_file import MappedFile
from deberta_core.checkpoint.tensor_file import TensorFile, TensorInfo

_MAX_INDEX = 1 << 26  # bytes
_MAX_SHARDS = 1024
_DAMAGED = "the index is damaged or was edited; download or save the checkpoint again"


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
        path: the index file.
        open_shard: opens one shard, given its path and the names it should hold.

    Raises:
        CheckpointError: the index leads out of its folder, or shards and index do not agree.
    """

    def __init__(self, path: Path, open_shard: Callable[[Path, list[str]], TensorFile]) -> None:
        self._path = path
        self._shards: list[TensorFile] = []
        weight_map, self.metadata = read_index(path)
        names: dict[str, list[str]] = {}
        # TensorFlow's indexes come with and without the class name of the model.
        for name, file_name in zip(strip_classes(list(weight_map)), weight_map.values(), strict=True):
            names.setdefault(file_name, []).append(name)
        paths = self._check_paths(sorted(names))
        try:
            for file_name, shard_path in paths.items():
                self._shards.append(open_shard(shard_path, names[file_name]))
            self._owner = self._check_contents(names, list(paths))
        except BaseException:
            self.close()
            raise
        self._combine(paths)

    def _fail(self, problem: str, remedy: str = _DAMAGED) -> NoReturn:
        raise CheckpointError(self._path, problem, remedy)

    def _check_paths(self, file_names: list[str]) -> dict[str, Path]:
        if len(file_names) > _MAX_SHARDS:
            self._fail(f"lists {len(file_names)} shards, more than {_MAX_SHARDS}")
        paths = {}
        for file_name in file_names:
            if file_name in ("", ".", "..") or any(sign in file_name for sign in "/\\:\0"):
                self._fail(f"lists the shard {file_name!r}, which is not a plain file name in its own folder; refused")
            paths[file_name] = self._path.parent / file_name
        missing = [name for name, path in paths.items() if not os.path.lexists(path)]
        if missing:
            self._fail(f"lists shards that are missing: {', '.join(missing[:8])}", "download them into the same folder")
        for file_name, path in paths.items():
            self._check_inside(file_name, path)
        return paths

    def _check_inside(self, file_name: str, path: Path) -> None:
        # A download cache links index and shards alike into one other folder: that is inside, too.
        allowed = {self._path.parent.resolve(), self._path.resolve().parent}
        if path.resolve().parent not in allowed:
            self._fail(
                f"lists the shard {file_name!r}, a link that leads out of the folder; refused", "copy the file itself"
            )

    def _check_contents(self, names: dict[str, list[str]], file_names: list[str]) -> dict[str, TensorFile]:
        owner: dict[str, TensorFile] = {}
        for file_name, shard in zip(file_names, self._shards, strict=True):
            absent = [name for name in names[file_name] if name not in shard.tensors and name not in shard.skipped]
            if absent:
                self._fail(
                    f"says that {file_name} holds {_some(absent)}, but it does not", "get index and shards of one model"
                )
            for name in shard.tensors:
                if name in owner:
                    self._fail(f"has the weight {name!r} in two shards, {owner[name].paths[0].name} and {file_name}")
                owner[name] = shard
            listed = set(names[file_name])
            if extra := [name for name in shard.tensors if name not in listed]:
                self._fail(f"does not list {_some(extra)} of {file_name}", "get index and shards of one model")
        return owner

    def _combine(self, paths: dict[str, Path]) -> None:
        kinds: set[tuple[str, str]] = {(shard.format, shard.naming) for shard in self._shards}
        if len({kind for kind, _ in kinds}) > 1:
            self.close()
            self._fail(f"mixes shards of the formats {', '.join(sorted(kind for kind, _ in kinds))}")
        self.format = self._shards[0].format
        self.naming = "tf" if any(naming == "tf" for _, naming in kinds) else "pt"
        self.paths = (self._path, *paths.values())
        self.tensors: dict[str, TensorInfo] = {n: i for shard in self._shards for n, i in shard.tensors.items()}
        self.skipped: dict[str, str] = _merge([shard.skipped for shard in self._shards])
        self.aliases: dict[str, str] = _merge([shard.aliases for shard in self._shards])
        self.metadata = {**_merge([shard.metadata for shard in self._shards]), **self.metadata}
        self.notes = tuple(dict.fromkeys(note for shard in self._shards for note in shard.notes))

    def _load(self, name: str) -> np.ndarray:
        return self._owner[name].read_raw(name)

    def close(self) -> None:
        """Close all shards; arrays that were read stay valid."""
        for shard in self._shards:
            shard.close()


def _merge(parts: list[Any]) -> dict[str, str]:
    return {key: value for part in parts for key, value in part.items()}


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:4])) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
