"""Opening a checkpoint of any kind, also those that Keras and TensorFlow keep for themselves."""

from __future__ import annotations

from pathlib import Path

from conversion.guarded import GuardedFile
from conversion.h5_child import has_keras_layout
from conversion.keras_files import KerasWeightsFile, TensorFlowCheckpoint, checkpoint_prefix
from deberta_core.checkpoint import CheckpointError, TensorFile, find_weights, open_weights
from deberta_core.checkpoint.h5_reader import is_h5
from deberta_core.checkpoint.locate import is_index
from deberta_core.checkpoint.mapped_file import MappedFile
from deberta_core.checkpoint.shards import read_index


def open_tensors(path: Path, *, isolate_h5: bool) -> TensorFile:
    """Open the weights of a folder, or of a file.

    Args:
        path: folder, weights file, index of shards, or prefix of a TensorFlow checkpoint.
        isolate_h5: read HDF5 in a process of its own.

    Raises:
        CheckpointError: damaged, or refused.
        FileNotFoundError: nothing there.
        ImportError: a TensorFlow checkpoint, and TensorFlow is not installed.
    """
    try:
        if path.suffix == ".index":
            raise FileNotFoundError(path)
        found = find_weights(path)
    except FileNotFoundError:
        return _open_of_keras(path, isolate_h5=isolate_h5)
    if not _holds_h5(found):
        return open_weights(found)
    if isolate_h5:
        return GuardedFile(found)
    return KerasWeightsFile(found) if not is_index(found) and has_keras_layout(found) else open_weights(found)


def _open_of_keras(path: Path, *, isolate_h5: bool) -> TensorFile:
    """What only Keras or TensorFlow would find there; else the error that says there is nothing."""
    own = sorted(path.glob("*.weights.h5")) if path.is_dir() else []
    if len(own) == 1:
        return GuardedFile(own[0]) if isolate_h5 else KerasWeightsFile(own[0])
    prefix = checkpoint_prefix(path)
    if prefix is not None:
        return TensorFlowCheckpoint(prefix)
    find_weights(path)
    raise CheckpointError(path, "is not weights", "give a folder, a weights file or an index of shards")


def _holds_h5(path: Path) -> bool:
    """Whether a file, or a shard that an index lists, is HDF5."""
    if not is_index(path):
        return _is_h5(path)
    weight_map, _ = read_index(path)
    names = {name for name in weight_map.values() if "/" not in name and "\0" not in name}
    return any(_is_h5(path.parent / name) for name in names if (path.parent / name).is_file())


def _is_h5(path: Path) -> bool:
    file = MappedFile(path)
    try:
        return is_h5(file)
    finally:
        file.close()
