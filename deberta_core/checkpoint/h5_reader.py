"""Reader of TensorFlow's h5 files: Keras 2 weights, full Keras saves, and shards.

Every link, shape and storage is checked before data is read: links out of the file, external and virtual datasets are
refused. The HDF5 library itself can crash on a hostile file, which no check from outside prevents; read files that you
do not trust in a process of their own.

Source: Keras 2 weights layout; https://docs.hdfgroup.org for storage layouts.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from deberta_core.checkpoint.dtypes import DTYPES, byte_count, dtype_name
from deberta_core.checkpoint.errors import CheckpointError
from deberta_core.checkpoint.h5_names import class_prefixes, from_shard, read_names, strip_class, strip_classes
from deberta_core.checkpoint.mapped_file import MappedFile, as_array
from deberta_core.checkpoint.tensor_file import TensorFile, TensorInfo

_TOP_LEVEL = "top_level_model_weights"
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32"}  # others would load a plug-in
_MAX_RATIO = 1040  # deflate cannot do better
_MAX_RANK = 32


class H5File(TensorFile):
    """One .h5 file of weights.

    Args:
        path: the file.
        expected: names that an index gives to this file, for a shard.

    Raises:
        CheckpointError: damaged, no weights inside, or content that lies outside.
        FileNotFoundError: no such file.
    """

    format = "h5"
    naming = "tf"

    def __init__(self, path: Path, expected: Iterable[str] | None = None) -> None:
        import h5py

        self._h5py = h5py
        self.paths = (path,)
        self._mapped = MappedFile(path)
        self._file: Any = None
        self._datasets: dict[str, Any] = {}
        self._infos: dict[str, TensorInfo] = {}
        self.tensors = self._infos
        try:
            self._file = h5py.File(path, "r", locking=False)  # locks fail on some network file systems
            self._index(None if expected is None else frozenset(expected))
        except CheckpointError:
            self.close()
            raise
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.close()
            raise CheckpointError(
                path, f"is not a readable HDF5 file ({error})", "it is cut short or damaged; download or save it again"
            ) from None
        except BaseException:
            self.close()
            raise

    def _index(self, expected: frozenset[str] | None) -> None:
        root = self._file
        if "layer_names" not in root.attrs and "layer_names0" not in root.attrs and "model_weights" in root:
            root = self._child(root, "model_weights", "model_weights")
            self.notes = ("a full Keras save; its weights are read",)
        layers = read_names(root.attrs, "layer_names")
        if layers is None:
            hint = "a Keras 3 weights file" if "_layer_checkpoint_dependencies" in root or "layers" in root else "this"
            self._fail(f"lists no layer_names, so {hint} is not a Keras 2 weights file", "save it as tf_model.h5")
        self.metadata = {
            key: _as_text(root.attrs[key]) for key in ("backend", "keras_version") if _is_scalar(root.attrs, key)
        }
        links = [(layer, self._child(root, layer, layer)) for layer in layers]
        if any(isinstance(item, self._h5py.Dataset) for _, item in links):
            self._index_shard(links, expected)
        else:
            self._index_layers(root, links)

    def _index_shard(self, links: list[tuple[str, Any]], expected: frozenset[str] | None) -> None:
        names = strip_classes([path for path, _ in links])
        for name, (path, item) in zip(names, links, strict=True):
            self._add(from_shard(name, expected), item, path)

    def _index_layers(self, root: Any, links: list[tuple[str, Any]]) -> None:
        layers = [layer for layer, _ in links]
        if _TOP_LEVEL in root and _TOP_LEVEL not in dict(links):
            links = [*links, (_TOP_LEVEL, self._child(root, _TOP_LEVEL, _TOP_LEVEL))]
        listed = {layer: read_names(group.attrs, "weight_names") for layer, group in links}
        for layer, names in listed.items():
            if names is None:
                self._fail(f"has layer {layer!r} without weight_names", "it is damaged; download or save it again")
        every = [name for names in listed.values() for name in names or ()]
        prefixes = class_prefixes(every, list(listed))
        self.metadata = {**self.metadata, "model_name": ",".join(sorted(prefixes)), "layer_names": ",".join(layers)}
        for layer, group in links:
            for name in listed[layer] or ():
                self._add(strip_class(name, prefixes), self._child(group, name, f"{layer}/{name}"), f"{layer}/{name}")

    def _child(self, group: Any, path: str, shown: str) -> Any:
        """What a path leads to, by hard links only."""
        for part in path.split("/"):
            if not part or not isinstance(group, self._h5py.Group) or part not in group:
                self._fail(f"lists {shown!r} but does not hold it")
            link = group.get(part, getlink=True)
            if not isinstance(link, self._h5py.HardLink):
                kind = "another file" if isinstance(link, self._h5py.ExternalLink) else "another place"
                self._fail(f"has a link to {kind} at {shown!r}; refused", "copy the weights into the file itself")
            group = group[part]
        return group

    def _add(self, name: str, dataset: Any, shown: str) -> None:
        info = self._check(name, dataset, shown)
        known = self._infos.get(name)
        if known is None:
            self._infos[name] = info
            self._datasets[name] = dataset
        elif known != info:
            self._fail(f"repeats {name!r} as {info.dtype} {info.shape}, before {known.dtype} {known.shape}")

    def _check(self, name: str, dataset: Any, shown: str) -> TensorInfo:
        if not isinstance(dataset, self._h5py.Dataset):
            self._fail(f"has a group where the weight {shown!r} is expected")
        if dataset.shape is None or len(dataset.shape) > _MAX_RANK:
            self._fail(f"weight {shown!r} has no shape")
        try:
            info = TensorInfo(name, tuple(int(size) for size in dataset.shape), dtype_name(dataset.dtype))
        except ValueError as error:
            self._fail(f"weight {shown!r}: {error}")
        self._check_storage(dataset, byte_count(info.shape, info.dtype), shown)
        return info

    def _check_storage(self, dataset: Any, nbytes: int, shown: str) -> None:
        settings = dataset.id.get_create_plist()
        h5d = self._h5py.h5d
        layout, stored = settings.get_layout(), dataset.id.get_storage_size()
        if layout == h5d.VIRTUAL or settings.get_external_count():
            self._fail(f"keeps weight {shown!r} outside of itself; refused", "copy the weights into the file itself")
        if layout == h5d.CHUNKED:
            for index in range(settings.get_nfilters()):
                if (code := settings.get_filter(index)[0]) not in _FILTERS:
                    self._fail(f"packs weight {shown!r} with filter {code}", "expected gzip or none; repack it")
            limit = stored * _MAX_RATIO if settings.get_nfilters() else stored
        else:
            limit = stored
        if stored > self._mapped.size or nbytes > limit:
            self._fail(f"weight {shown!r} needs {nbytes} bytes but {stored} are stored")

    def _load(self, name: str) -> np.ndarray:
        dataset, info = self._datasets[name], self.tensors[name]
        offset = dataset.id.get_offset()
        if offset is not None and dataset.dtype.newbyteorder("<") == DTYPES[info.dtype].raw:
            return as_array(self._mapped.view(offset, info.nbytes), dataset.dtype, info.shape)
        try:
            array = np.ascontiguousarray(dataset[()], DTYPES[info.dtype].raw.newbyteorder("=")).reshape(info.shape)
        except (OSError, RuntimeError, ValueError) as error:
            self._fail(f"weight {name!r} cannot be read ({error})")
        array.flags.writeable = False
        return array

    def close(self) -> None:
        """Close the file; arrays that were read stay valid."""
        if self._file is not None:
            self._file.close()
        self._mapped.close()

    def _fail(self, problem: str, remedy: str = "it is damaged; download or save it again") -> NoReturn:
        raise CheckpointError(self.paths[0], problem, remedy)


def _is_scalar(attributes: Any, key: str) -> bool:
    return key in attributes and attributes.get_id(key).shape == () and attributes.get_id(key).get_storage_size() < 4096


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def is_h5(file: MappedFile) -> bool:
    """Whether the file has the signature of HDF5, at its start or after a user block."""
    positions = [0] + [512 << power for power in range(8)]
    return any(file.size >= at + 8 and file.read(at, 8) == b"\x89HDF\r\n\x1a\n" for at in positions)
