"""TensorFlow's h5 files: Keras 2 weights, full Keras saves, and shards.

Reading: every link, shape and storage is checked before data is read; links out of the file, external and virtual
datasets are refused. The HDF5 library itself can crash on a hostile file, which no check from outside prevents; read
files that you do not trust in a process of their own. The library opens the file by itself; what lies in it as it is,
which is the rule, is mapped by place instead of going through the library.

Writing: the HDF5 library lays the file out; the data is then written straight to its place. So a full disk is an
ordinary error of ``write`` (inside the library it can end the process), and no tensor passes through its buffers.

Source: Keras 2, ``keras/saving/legacy/hdf5_format.py``, for the layout; https://docs.hdfgroup.org for storage layouts.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from deberta_core.checkpoint.errors import AGAIN, CheckpointError
from deberta_core.checkpoint.h5_names import (
    H5Layout,
    class_prefixes,
    from_shard,
    read_names,
    strip_class,
    strip_classes,
)
from deberta_core.checkpoint.mapped import MappedFile
from deberta_core.checkpoint.streams import Sender, write_all
from deberta_core.checkpoint.tensors import (
    DTYPES,
    MAX_RANK,
    Format,
    TensorInfo,
    WriteRequest,
    as_native,
    dtype_name,
)

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_TOP_LEVEL = "top_level_model_weights"
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32"}  # others would load a plug-in
_MAX_RATIO = 1040  # deflate cannot do better
_MAX_CHUNK = 1 << 24  # bytes; a chunk is unpacked whole, however little of it is wanted
_MAX_ATTRIBUTE = 64512  # bytes; more does not fit into the header of an HDF5 object
_ALIGN_FROM, _ALIGN_TO = 1024, 64  # bytes; so that what is large can be mapped
_OF_LIBRARY = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError)  # what h5py raises for damage


class H5File(Format):
    """One .h5 file of weights.

    Raises:
        CheckpointError: damaged, no weights inside, or content that lies outside.
    """

    format = "h5"
    naming = fixed_naming = "tf"
    suffixes = (".h5", ".hdf5")

    def __init__(self, file: MappedFile, expected: Iterable[str] | None = None) -> None:
        import h5py  # here, so that who reads no h5 needs no HDF5

        super().__init__(file, expected)
        self._h5py = h5py
        self._root: Any = None
        self._datasets: dict[str, Any] = {}
        self._infos: dict[str, TensorInfo] = {}
        self.tensors = self._infos
        if not self.recognise(file):
            self._fail("is not an HDF5 file")
        try:
            self._root = h5py.File(file.path, "r", locking=False)  # locks fail on some network file systems
            self._index(None if expected is None else frozenset(expected))
        except BaseException as error:
            if self._root is not None:
                self._root.close()
            if isinstance(error, CheckpointError) or not isinstance(error, _OF_LIBRARY):
                raise
            raise CheckpointError(file.path, f"is not a readable HDF5 file ({error})", AGAIN) from None

    @classmethod
    def recognise(cls, file: MappedFile) -> bool:
        """By the signature, at the start or after a user block of 512 bytes or a power of two times that."""
        positions = [0] + [512 << power for power in range(8)]
        return any(file.size >= at + 8 and file.read(at, 8) == _SIGNATURE for at in positions)

    def _index(self, expected: frozenset[str] | None) -> None:
        root = self._root
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
        if dataset.shape is None or len(dataset.shape) > MAX_RANK:
            self._fail(f"weight {shown!r} has no shape")
        try:
            info = TensorInfo(name, tuple(int(size) for size in dataset.shape), dtype_name(dataset.dtype))
        except ValueError as error:
            self._fail(f"weight {shown!r}: {error}")
        self._check_storage(dataset, info.nbytes, shown)
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
            chunk = math.prod(settings.get_chunk()) * dataset.dtype.itemsize
            if chunk > max(nbytes, _MAX_CHUNK):
                self._fail(f"keeps the {nbytes} bytes of weight {shown!r} in a chunk of {chunk}")
        else:
            limit = stored
        if stored > self._file.size or nbytes > limit:
            self._fail(f"weight {shown!r} needs {nbytes} bytes but {stored} are stored")

    def place(self, name: str) -> int | None:
        """Where the elements of a tensor lie in the file as ``DTYPES`` has them, if they do."""
        dataset = self._datasets[name]
        return dataset.id.get_offset() if dataset.dtype == DTYPES[self.tensors[name].dtype].raw else None

    def _load(self, name: str) -> np.ndarray:
        dataset, info = self._datasets[name], self.tensors[name]
        offset = self.place(name)
        if offset is not None:
            return as_native(self._file.view(offset, info.nbytes).view(DTYPES[info.dtype].raw).reshape(info.shape))
        try:
            array = np.ascontiguousarray(dataset[()], DTYPES[info.dtype].raw.newbyteorder("=")).reshape(info.shape)
        except (OSError, RuntimeError, ValueError) as error:
            self._fail(f"weight {name!r} cannot be read ({error})")
        array.flags.writeable = False
        return array

    def close(self) -> None:
        """Close the file; arrays that were read stay valid."""
        if self._root is not None and not self._kept:
            self._root.close()
        super().close()

    def keep_open(self) -> None:
        """Let ``close`` do nothing: the file is closed when nothing refers to this object any more."""
        if not self._kept:
            weakref.finalize(self, self._root.close).atexit = False
        super().keep_open()

    # Writing.

    @classmethod
    def has_place_for(cls, info: TensorInfo) -> str:
        """All types but bfloat16, which HDF5 does not have; a name is a path of groups."""
        return "type" if info.dtype == "bfloat16" else "name" if {"", "."} & set(info.name.split("/")) else ""

    @classmethod
    def write(cls, request: WriteRequest) -> None:
        """Write a file that Keras 2 reads, by name and in the order of layers, or a shard."""
        import h5py

        infos = [info for info, _ in request.tensors]
        options = {"locking": False, "alignment_threshold": _ALIGN_FROM, "alignment_interval": _ALIGN_TO}
        with h5py.File(request.path, "w", **options) as root:
            if request.layout is None:  # a shard: datasets at their names, which the attribute lists
                _write_names(root, "layer_names", [info.name for info in infos])
                datasets = {info.name: _create(root, info.name, info) for info in infos}
            else:
                datasets = _lay_out(root, infos, request.layout)
            offsets = {name: dataset.get_offset() for name, dataset in datasets.items()}
        with open(request.path, "r+b", buffering=0) as file, Sender(request.progress) as sender:
            for info, source in request.tensors:
                file.seek(offsets[info.name] or 0)  # None where there is nothing to store
                sender.send(info, source, lambda block: write_all(file, block))


def _is_scalar(attributes: Any, key: str) -> bool:
    return key in attributes and attributes.get_id(key).shape == () and attributes.get_id(key).get_storage_size() < 4096


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _lay_out(root: Any, infos: Sequence[TensorInfo], layout: H5Layout) -> dict[str, Any]:
    """Groups and datasets as Keras 2 makes them: a layer's group lists its weights, the class before each name."""
    root.attrs["backend"], root.attrs["keras_version"] = layout.backend, layout.keras_version
    _write_names(root, "layer_names", layout.layer_names)
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
            # A hard link: a layer with tied weights lists them again, and they are stored once.
            root[f"{layer}/{layout.model_name}/{name}"] = root[f"{name.split('/')[0]}/{layout.model_name}/{name}"]
    _write_names(root.create_group(_TOP_LEVEL), "weight_names", [])  # Keras 2.6 and later look for it
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
