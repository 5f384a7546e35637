"""A checkpoint to convert or look into: its weights, side file, config and the files that go with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conversion.guarded import GuardedFile, IsShardError
from conversion.keras_files import KerasWeightsFile, TensorFlowCheckpoint, checkpoint_prefix
from conversion.mapping import Names, head_of, read_names
from conversion.side_file import Record, open_side_file
from conversion.sizes import Shape, check_shapes, infer_config, shapes_by_key
from deberta_core.checkpoint import CheckpointError, TensorFile, TensorInfo
from deberta_core.checkpoint.mapped import MappedFile
from deberta_core.checkpoint.safetensors import SafetensorsFile
from deberta_core.checkpoint.tensors import Format
from deberta_core.checkpoint.torch_bin import TorchFile
from deberta_core.checkpoint.weights import choose_weights, open_one, place
from deberta_core.config import AutoConfig, BaseConfig
from deberta_core.file_names import CONFIG, GENERATOR_CONFIG, WEIGHTS, checkpoint_files
from deberta_core.files import Reading, read_together
from deberta_core.folder import locate, read_json
from deberta_core.general_config import build_config
from deberta_core.loading import check_sizes, prefixes, with_plain_names
from deberta_core.wording import some


@dataclass
class Source(contextlib.AbstractContextManager["Source"]):
    """An open checkpoint and what is known of it. A context manager.

    Attributes:
        path: as given.
        weights: the weights file, or the index of its shards.
        file: its tensors.
        side: tensors of the side file, if there is one.
        record: what an earlier conversion noted there.
        restored: names that come from the side file: one that is in both is that of the weights file.
        tensors: all tensors by name, those of the side file last.
        names: its names, understood.
        config_file: its config, if there is one.
        config_values: entries of that file.
        config_text: its text.
        config: from that file, else from the shapes.
        head: the head it has, a key of ``deberta_core.heads.HEADS``.
    """

    path: Path
    weights: Path
    file: TensorFile
    side: TensorFile | None
    record: Record
    restored: tuple[str, ...]
    tensors: Mapping[str, TensorInfo]
    names: Names
    config_file: Path | None
    config_values: Mapping[str, Any]
    config_text: bytes
    config: BaseConfig
    head: str

    @property
    def folder(self) -> Path:
        """Folder of the weights."""
        return self.weights.parent

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

    def __exit__(self, *_: object) -> None:
        self.file.close()
        if self.side is not None:
            self.side.close()


def open_source(path: str | os.PathLike[str], *, isolate_h5: bool = False, check: bool = True) -> Source:
    """Open a checkpoint.

    Args:
        path: folder, weights file, index of shards, prefix of a TensorFlow checkpoint, or name on the hub.
        isolate_h5: read HDF5 in a process of its own, so that a damaged file cannot end this one.
        check: refuse a checkpoint whose weights are not those that its config asks for.

    Raises:
        CheckpointError: damaged, refused, or not a DeBERTa.
        FileNotFoundError: nothing there.
        ImportError: a TensorFlow checkpoint, and TensorFlow is not installed.
        ValueError: config and weights do not belong together.
    """
    given = locate(path, {}, checkpoint_files, "")
    folder, name = place(given)

    def read(reading: Reading) -> Source:
        # Published folders of v3 hold a discriminator and its generator, whose sizes differ: each file has its config.
        own = [GENERATOR_CONFIG] if name and "generator" in name else []
        config_file = next((file for file in (*own, CONFIG) if file in reading), None)
        with contextlib.ExitStack() as opened:
            file = opened.enter_context(_open_tensors(given, reading, name, isolate_h5))
            side, record = open_side_file(reading if given.is_dir() else Reading(file.paths[0].parent))
            if side is not None:
                opened.enter_context(side)
            names = read_names(file.tensors, file.naming)
            if names is None:
                raise _not_deberta(file)
            values = read_json(reading, config_file) if config_file else {}
            shapes = shapes_by_key(names, file.tensors)
            config_path = folder / config_file if config_file else None
            config = _config_of(config_path, values, names, file, shapes)
            head = head_of(config, _architectures(values), shapes)
            if check:
                check_shapes(shapes, config, head, str(file.paths[0]), names.foreign)
            opened.pop_all()  # whatever failed above closed the files; from here on the source does
            text = reading.read(config_file) or b"" if config_file else b""
            aside = {} if side is None else {n: info for n, info in side.tensors.items() if n not in file.tensors}
            return Source(
                given, file.paths[0], file, side, record, tuple(aside), {**file.tensors, **aside}, names, config_path,
                values, text, config, head,
            )  # fmt: skip

    return read_together(folder, read)


def _open_tensors(given: Path, reading: Reading, name: str | None, isolate_h5: bool) -> TensorFile:
    formats: tuple[type[Format], ...]
    formats = (SafetensorsFile, TorchFile, GuardedFile if isolate_h5 else KerasWeightsFile)
    try:
        if name is not None and name.endswith(".index"):
            raise FileNotFoundError(given)
        chosen = name or choose_weights(reading, tuple(WEIGHTS))
    except FileNotFoundError as error:  # what only Keras or TensorFlow would find there
        own = sorted(given.glob("*.weights.h5")) if given.is_dir() else []
        if len(own) != 1:
            prefix = checkpoint_prefix(given)
            if prefix is not None:
                return TensorFlowCheckpoint(prefix)
            if name is None:
                raise
            problem, remedy = "is not weights", "give a folder, a weights file or an index of shards"
            raise CheckpointError(given, problem, remedy) from error
        chosen = own[0].name
    try:
        file = open_one(reading, chosen, formats)
        before = prefixes(file.tensors)
        if len(before) > 1 and all(before):
            problem = f"has encoders under the prefixes {some(before, 8)}"
            raise CheckpointError(given, problem, "load the one that is meant with key_mapping=..., and save it")
        # One that was saved inside DataParallel is understood as it is.
        return file if "module." in before else with_plain_names(file)
    except IsShardError:
        return GuardedFile(MappedFile(reading.place(chosen)))


def _config_of(
    file: Path | None, values: Mapping[str, Any], names: Names, weights: TensorFile, shapes: Mapping[str, Shape]
) -> BaseConfig:
    where = weights.paths[0]
    if file is None:
        return infer_config(names, shapes, str(where))
    family = values.get("model_type", names.family)  # the original code's files do not say it
    if family != names.family:
        raise ValueError(
            f"{file} says model_type {family!r}, but the weights in {where} are those of {names.family!r}; "
            "get config.json and weights of one model"
        )
    check_sizes(values, file, weights)
    config: BaseConfig = build_config(AutoConfig.from_dict, {**values, "model_type": family}, file, warn=False)
    return config


def _architectures(values: Mapping[str, Any]) -> list[Any]:
    given = values.get("architectures")
    return given if isinstance(given, list) else []


def _not_deberta(file: TensorFile) -> CheckpointError:
    shown = ", ".join(repr(name[:80]) for name in list(file.tensors)[:4]) or "none"
    return CheckpointError(
        file.paths[0], f"holds no DeBERTa encoder (its tensors: {shown})", "give a checkpoint of DeBERTa v1, v2 or v3"
    )
