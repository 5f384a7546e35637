"""A checkpoint to convert or look into: its weights, side file, config and the files that go with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from conversion.mapping import Names, head_of, read_names
from conversion.opening import open_tensors
from conversion.side_file import Record, open_side_file
from conversion.sizes import Shape, check_shapes, infer_config, shapes_by_key
from deberta_core.checkpoint import CheckpointError, TensorFile, TensorInfo
from deberta_core.config import CONFIG_NAME, AutoConfig, BaseConfig, read_config
from deberta_core.hub.fetching import find
from deberta_core.hub.files import checkpoint_files

GENERATOR_CONFIG = "generator_config.json"
_MOST_LAYERS = 10_000


@dataclass
class Source:
    """An open checkpoint and what is known of it. A context manager.

    Attributes:
        path: as given.
        weights: the weights file, or the index of its shards.
        file: its tensors.
        side: tensors of the side file, if there is one.
        record: what an earlier conversion noted there.
        names: its names, understood.
        config_file: its config, if there is one.
        config_values: entries of that file.
        config: from that file, else from the shapes.
        head: the head it has, a key of ``deberta_core.heads.HEADS``.
    """

    path: Path
    weights: Path
    file: TensorFile
    side: TensorFile | None
    record: Record
    names: Names
    config_file: Path | None
    config_values: Mapping[str, Any]
    config: BaseConfig
    head: str

    @property
    def folder(self) -> Path:
        """Folder of the weights."""
        return self.weights.parent

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        """All tensors by name, those of the side file last; one that is in both is that of the weights file."""
        return {**self.file.tensors, **{name: self._aside()[name] for name in self.restored}}

    @property
    def restored(self) -> tuple[str, ...]:
        """Names that come from the side file."""
        return tuple(name for name in self._aside() if name not in self.file.tensors)

    def _aside(self) -> Mapping[str, TensorInfo]:
        return {} if self.side is None else self.side.tensors

    @property
    def architectures(self) -> list[str]:
        """Class names in the config."""
        return [str(name) for name in _architectures(self.config_values)]

    @property
    def shapes(self) -> dict[str, Shape]:
        """PyTorch shape by published key."""
        return shapes_by_key(self.names, self.file.tensors)

    def read_raw(self, name: str) -> np.ndarray[Any, Any]:
        """One tensor as stored; bfloat16 as uint16 bit patterns."""
        if name in self.file.tensors or self.side is None:
            return self.file.read_raw(name)
        return self.side.read_raw(name)

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        if self.side is not None:
            self.side.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_source(path: str | os.PathLike[str], *, isolate_h5: bool = False, check: bool = True) -> Source:
    """Open a checkpoint.

    Args:
        path: folder, weights file, index of shards, or name on the hub.
        isolate_h5: read HDF5 in a process of its own, so that a damaged file cannot end this one.
        check: refuse a checkpoint whose weights are not those that its config asks for.

    Raises:
        CheckpointError: damaged, refused, or not a DeBERTa.
        FileNotFoundError: nothing there.
        ValueError: config and weights do not belong together.
    """
    path = find(path, checkpoint_files)
    config_file = find_config(path)
    file = open_tensors(path, isolate_h5=isolate_h5)
    side: TensorFile | None = None
    try:
        side, record = open_side_file(file.paths[0].parent)
        names = read_names(file.tensors, file.naming)
        if names is None:
            raise _not_deberta(file)
        values = read_config(config_file) if config_file else {}
        shapes = shapes_by_key(names, file.tensors)
        config = _config_of(config_file, values, names, file.paths[0], shapes)
        head = head_of(config, _architectures(values), set(names.keys.values()))
        if check:
            check_shapes(shapes, config, head, str(file.paths[0]), names.foreign)
        return Source(path, file.paths[0], file, side, record, names, config_file, values, config, head)
    except BaseException:
        file.close()
        if side is not None:
            side.close()
        raise


def find_config(path: Path) -> Path | None:
    """The config of a folder or of a weights file; None if there is none."""
    if path.is_dir():
        candidates = [path / CONFIG_NAME]
    else:
        own = [path.with_name(GENERATOR_CONFIG)] if "generator" in path.name else []
        candidates = [*own, path.with_name(CONFIG_NAME)]
    return next((file for file in candidates if file.is_file()), None)


def _config_of(
    file: Path | None, values: Mapping[str, Any], names: Names, where: Path, shapes: Mapping[str, Shape]
) -> BaseConfig:
    if file is None:
        return infer_config(names, shapes, str(where))
    family = values.get("model_type", names.family)  # the original code's files do not say it
    if family != names.family:
        raise ValueError(
            f"{file} says model_type {family!r}, but the weights in {where} are those of {names.family!r}; "
            "get config.json and weights of one model"
        )
    try:
        config: BaseConfig = AutoConfig.from_dict({**values, "model_type": family}, warn=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from None
    if config.num_hidden_layers > _MOST_LAYERS:  # a list of so many weights would fill the memory
        text = f"num_hidden_layers is {config.num_hidden_layers}, but {where} has {names.layers} layers"
        raise ValueError(f"{file}: {text}")
    return config


def _architectures(values: Mapping[str, Any]) -> list[Any]:
    given = values.get("architectures")
    return given if isinstance(given, list) else []


def _not_deberta(file: TensorFile) -> CheckpointError:
    shown = ", ".join(repr(name[:80]) for name in list(file.tensors)[:4]) or "none"
    return CheckpointError(
        file.paths[0], f"holds no DeBERTa encoder (its tensors: {shown})", "give a checkpoint of DeBERTa v1, v2 or v3"
    )
