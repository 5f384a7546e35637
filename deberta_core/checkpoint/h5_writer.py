"""Writer of TensorFlow's h5 files: Keras 2 weights, and shards.

The HDF5 library lays the file out; the data is then written straight to its place. So a full disk is an ordinary error
of ``write`` (inside the library it can end the process), and no tensor passes through buffers of the library.

Source: Keras 2, ``keras/saving/legacy/hdf5_format.py``, for the layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deberta_core.checkpoint.dtypes import DTYPES
from deberta_core.checkpoint.streams import Sender, Source, write_all
from deberta_core.checkpoint.tensor_file import TensorInfo

_MAX_ATTRIBUTE = 64512  # bytes; more does not fit into the header of an HDF5 object
_TOP_LEVEL = "top_level_model_weights"
_ALIGN_FROM, _ALIGN_TO = 1024, 64  # bytes; so that what is large can be mapped


@dataclass(frozen=True)
class H5Layout:
    """What a Keras 2 file says besides names and tensors.

    Args:
        model_name: first component of every full weight name, such as ``tf_deberta_v2_model``.
        layer_names: top-level layers in their order, those without weights included.
        repeats: layer to the weights of other layers that its group holds once more, as a layer with tied weights
            does; they take no space.
        backend: what Keras ran on.
        keras_version: version to state; readers only look whether it is there.
    """

    model_name: str
    layer_names: tuple[str, ...]
    repeats: Mapping[str, Sequence[str]] = field(default_factory=dict)
    backend: str = "tensorflow"
    keras_version: str = "2.15.0"

    def by_layer(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Weight names of each layer's group, repeats last.

        Raises:
            ValueError: a weight outside the layers, or a repeat that names no layer or weight.
        """
        groups: dict[str, list[str]] = {layer: [] for layer in self.layer_names}
        for name in names:
            layer = name.split("/")[0]
            if layer not in groups:
                raise ValueError(
                    f"weight {name!r} is in none of the layers {', '.join(self.layer_names)}; "
                    f"add {layer!r} to layer_names"
                )
            groups[layer].append(name)
        known = set(names)
        for layer, repeated in self.repeats.items():
            if layer not in groups or not known.issuperset(repeated):
                raise ValueError(f"layer {layer!r} repeats weights that are not written: {sorted(repeated)}")
            groups[layer] += repeated
        return groups


def write_h5(
    path: Path, tensors: Sequence[tuple[TensorInfo, Source]], layout: H5Layout, progress: Callable[[int], None]
) -> None:
    """Write one file that Keras 2 reads with ``load_weights(by_name=True)`` and in the order of layers.

    Args:
        path: an existing empty file.
        tensors: in the order of the model; names without class name.
        layout: layers of the model.
        progress: told the number of bytes after each run that was written.

    Raises:
        ValueError: a weight outside the layers.
    """
    infos = [info for info, _ in tensors]

    def lay_out(root: Any) -> dict[str, Any]:
        root.attrs["backend"], root.attrs["keras_version"] = layout.backend, layout.keras_version
        _write_names(root, "layer_names", layout.layer_names)
        return _lay_out_layers(root, infos, layout)

    _write(path, tensors, lay_out, progress)


def write_h5_shard(path: Path, tensors: Sequence[tuple[TensorInfo, Source]], progress: Callable[[int], None]) -> None:
    """Write one shard: datasets at their names, which the attribute ``layer_names`` lists.

    Args:
        path: an existing empty file.
        tensors: in the order of the file; names without class name.
        progress: told the number of bytes after each run that was written.
    """
    infos = [info for info, _ in tensors]

    def lay_out(root: Any) -> dict[str, Any]:
        _write_names(root, "layer_names", [info.name for info in infos])
        return {info.name: _create(root, info.name, info) for info in infos}

    _write(path, tensors, lay_out, progress)


def _write(
    path: Path,
    tensors: Sequence[tuple[TensorInfo, Source]],
    lay_out: Callable[[Any], dict[str, Any]],
    progress: Callable[[int], None],
) -> None:
    import h5py

    with h5py.File(path, "w", locking=False, alignment_threshold=_ALIGN_FROM, alignment_interval=_ALIGN_TO) as root:
        offsets = {name: dataset.get_offset() for name, dataset in lay_out(root).items()}
    with open(path, "r+b", buffering=0) as file, Sender(progress) as sender:
        for info, source in tensors:
            file.seek(offsets[info.name] or 0)  # None where there is nothing to store
            sender.send(info, source, lambda block: write_all(file, block))


def _lay_out_layers(root: Any, infos: Sequence[TensorInfo], layout: H5Layout) -> dict[str, Any]:
    by_name = {info.name: info for info in infos}
    datasets: dict[str, Any] = {}
    for layer, names in layout.by_layer(list(by_name)).items():
        group = root.create_group(layer)
        _write_names(group, "weight_names", [f"{layout.model_name}/{name}" for name in names])
        for name in names:
            if name.split("/")[0] == layer:
                datasets[name] = _create(group, f"{layout.model_name}/{name}", by_name[name])
    for layer, repeated in layout.repeats.items():
        for name in repeated:
            root[f"{layer}/{layout.model_name}/{name}"] = root[f"{name.split('/')[0]}/{layout.model_name}/{name}"]
    _write_names(root.create_group(_TOP_LEVEL), "weight_names", [])
    return datasets


def _create(root: Any, place: str, info: TensorInfo) -> Any:
    """Reserve the place of a dataset without writing to it."""
    import h5py

    parent, _, leaf = place.rpartition("/")
    group = root.require_group(parent) if parent else root
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)  # the same weights make the same file
    kind = h5py.h5t.py_create(DTYPES[info.dtype].raw, logical=True)
    return h5py.h5d.create(group.id, leaf.encode("utf-8"), kind, h5py.h5s.create_simple(info.shape), settings)


def _write_names(group: Any, key: str, names: Sequence[str]) -> None:
    """Keep names in an attribute, in several numbered ones where one would be too large."""
    encoded = [name.encode("utf-8") for name in names]
    longest = max((len(name) for name in encoded), default=1)
    step = _MAX_ATTRIBUTE // longest
    kind = np.dtype(f"S{longest}")
    if len(encoded) <= step:
        group.attrs[key] = np.array(encoded, kind)
        return
    for number, start in enumerate(range(0, len(encoded), step)):
        group.attrs[f"{key}{number}"] = np.array(encoded[start : start + step], kind)
