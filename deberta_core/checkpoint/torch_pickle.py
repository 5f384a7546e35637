"""What a pickle of ``torch.save`` may say: the names that rebuild tensors, and what they become here.

Source: ``torch/_utils.py`` and ``torch/serialization.py`` for the arguments and the persistent ids.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from deberta_core.checkpoint.pickles import ForbiddenGlobal, Opaque, PickleError, PickleMachine, Stream
from deberta_core.checkpoint.tensors import BY_TORCH_STORAGE, DTYPES, are_sizes, is_size


@dataclass(frozen=True, eq=False)
class Storage:
    """A run of elements that tensors look into.

    Args:
        key: name in the container.
        dtype: element type; uint8 for an untyped one.
        length: elements.
        start: first element, counted inside the storage of the container; above 0 for views of old files only.
        untyped: whether the type is left to the tensor.
    """

    key: str
    dtype: str
    length: int
    start: int = 0
    untyped: bool = False


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor as a window on a storage; offset and strides in elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal for two tensors exactly when they are the same elements."""
        return (self.storage.key, self.storage.start, self.dtype, self.offset, self.shape, self.strides)


@dataclass
class StateReader:
    """Reads pickles of one container and remembers the storages they mention."""

    storages: dict[str, Storage] = field(default_factory=dict)

    def read(self, stream: Stream) -> Any:
        """The value of one pickle: plain containers, numbers, texts, StoredTensor and Opaque.

        Raises:
            PickleError: damaged, or names anything that does not rebuild a tensor.
        """
        return PickleMachine(_find_global, self._load_persistent).run(stream)

    def _load_persistent(self, identity: Any) -> Storage:
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
            kind = identity[0] if isinstance(identity, tuple) and identity and isinstance(identity[0], str) else "?"
            raise PickleError(f"keeps something of kind {kind!r} outside itself, where only storages are expected")
        _, kind, key, _, length = identity[:5]
        if not isinstance(kind, _StorageType) or not isinstance(key, str | int) or not is_size(length):
            raise PickleError("is damaged (a storage without type, key and length)")
        root = Storage(str(key), kind.dtype, length, untyped=kind.untyped)
        known = self.storages.setdefault(root.key, root)
        if (known.dtype, known.length) != (root.dtype, root.length):
            raise PickleError(f"is damaged (storage {root.key!r} has two types or lengths)")
        view = identity[5] if len(identity) == 6 else None
        return known if view is None else _view_of(root, view)


def _view_of(root: Storage, view: Any) -> Storage:
    """The part of a storage that very old files describe by (key, first element, elements)."""
    if not isinstance(view, tuple) or len(view) != 3 or not is_size(view[1]) or not is_size(view[2]):
        raise PickleError("is damaged (a storage view without key, offset and length)")
    if view[1] + view[2] > root.length:
        raise PickleError(f"is damaged (a view reaches element {view[1] + view[2]} of a storage of {root.length})")
    return Storage(root.key, root.dtype, view[2], start=view[1], untyped=root.untyped)


@dataclass(frozen=True)
class _StorageType:
    dtype: str
    untyped: bool = False


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> StoredTensor:
    if not isinstance(storage, Storage) or storage.untyped:
        raise PickleError("is damaged (a tensor without a typed storage)")
    return _window(storage, storage.dtype, storage.length, offset, shape, strides)


def _rebuild_tensor_v3(storage: Any, offset: Any, shape: Any, strides: Any, _: Any, __: Any, dtype: Any) -> Any:
    if not isinstance(storage, Storage) or not isinstance(dtype, Opaque) or dtype.kind not in DTYPES:
        raise PickleError("is damaged (a tensor without storage and element type)")
    length = storage.length * DTYPES[storage.dtype].raw.itemsize // DTYPES[dtype.kind].raw.itemsize
    return _window(storage, dtype.kind, length, offset, shape, strides)


def _window(storage: Storage, dtype: str, length: int, offset: Any, shape: Any, strides: Any) -> StoredTensor:
    """Check a window against its storage before anything is allocated for it."""
    if not is_size(offset) or not are_sizes(shape) or not are_sizes(strides) or len(shape) != len(strides):
        raise PickleError("is damaged (a tensor without offset, sizes and strides)")
    count = math.prod(shape)
    if count == 0:  # whatever its offset and strides, it looks at nothing
        return StoredTensor(storage, dtype, 0, tuple(shape), (1,) * len(shape))
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if last >= length:
        raise PickleError(f"is damaged (a tensor reaches element {last} of a storage of {length})")
    if count > length:
        raise PickleError(f"has a tensor of shape {tuple(shape)} that repeats the {length} elements of its storage")
    return StoredTensor(storage, dtype, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    if not isinstance(data, StoredTensor):
        raise PickleError("is damaged (a parameter without a tensor)")
    return data


def _ordered_dict(*arguments: Any) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for pair in arguments[0] if arguments else ():
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise PickleError("is damaged (an ordered dict of what are no pairs)")
        result[pair[0]] = pair[1]
    return result


def _size(*arguments: Any) -> tuple[Any, ...]:
    return tuple(arguments[0]) if arguments and are_sizes(arguments[0]) else ()


def _opaque(kind: str) -> Callable[..., Opaque]:
    return lambda *_: Opaque(kind)


_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch", "Size"): _size,
    ("torch", "device"): _opaque("device"),
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch.storage", "UntypedStorage"): _StorageType("uint8", untyped=True),
    ("_codecs", "encode"): _opaque("bytes"),
    ("__builtin__", "set"): _opaque("set"),
    ("builtins", "set"): _opaque("set"),
}
_GLOBALS.update({("torch", name): _StorageType(row.name) for name, row in BY_TORCH_STORAGE.items()})
_GLOBALS.update({("torch", name): Opaque(name) for name in DTYPES})


def _find_global(module: str, name: str) -> Any:
    if (module, name) not in _GLOBALS:
        raise ForbiddenGlobal(f"{module}.{name}")
    return _GLOBALS[module, name]
