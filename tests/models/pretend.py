"""A pretend accelerator: numbers are computed on the CPU, but on a device that nobody takes for it.

It refuses what a real one refuses (tensors of two devices in one operator, NumPy), and counts what a real one is slow
at: waits, where the host reads a value or copies from or to the device and the queue runs dry, and kernels, the
operators that are no views. It registers itself with PyTorch for the whole process, so tests run it in one of their
own: ``pretend_case`` is what a worker of ``test_accelerator`` runs.
"""

from __future__ import annotations

import contextlib
import traceback
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "pretend"
aten = torch.ops.aten
# Operators that hand the host a value, or whose result has a shape that only the values say.
READS = {
    "aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::equal", "aten::nonzero",
    "aten::masked_select", "aten::repeat_interleave", "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive",
}  # fmt: skip
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


class _Module(_DummyBackendModule):
    """What torch asks of a backend beside its operators."""

    class device(contextlib.nullcontext[None]):
        def __init__(self, index: Any = None) -> None:
            super().__init__()

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.default_generator.get_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        torch.default_generator.set_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
DEVICE = torch.device(NAME, 0)
torch.__future__.set_swap_module_params_on_conversion(True)  # `model.to` makes parameters of another class
waits: Counter[str] = Counter()
kernels: Counter[str] = Counter()
uploads: Counter[str] = Counter()  # copies from the CPU, waited for or not: none where a CUDA graph can be captured


class Far(torch.Tensor):
    """A tensor on the device; ``near`` holds its numbers."""

    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor, requires_grad: bool = False) -> Far:
        made: Far = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, near.shape, strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype,
            layout=near.layout, device=DEVICE, requires_grad=requires_grad,
        )  # fmt: skip
        made.near = near
        return made

    def tolist(self) -> Any:
        _waits_for("tolist")
        return self.near.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"can't convert {NAME} device type tensor to numpy")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl


class Placing(TorchDispatchMode):
    """Lets ``device=`` of factories name the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        far = _names_it(kwargs.get("device")) or any(isinstance(x, Far) for x in tree_leaves((args, kwargs)))
        return _run(func, args, kwargs) if far else func(*args, **kwargs)


def _names_it(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _waits_for(what: str, found: Counter[str] = waits) -> None:
    ours = [frame for frame in traceback.extract_stack() if "/deberta_pt/" in frame.filename]
    place = f"{ours[-1].filename.split('/deberta_pt/')[-1]}: {ours[-1].line}" if ours else "outside"
    found[f"{what} at {place}"] += 1


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operator."""
    if func is torch.ops.prim.device.default:
        return args[0].device
    name, leaves = func._schema.name, [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    far, near = [x for x in leaves if isinstance(x, Far)], [x for x in leaves if not isinstance(x, Far)]
    copies = func in (aten.copy_.default, aten._to_copy.default)
    if far and not copies and name not in INDEXING and any(x.dim() for x in near):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {NAME}:0 and cpu, in {name}")
    device = kwargs.get("device")
    leaves_it = func is aten._to_copy.default and device is not None and not _names_it(device)
    # What is told to arrive later is not waited for.
    comes = (func is aten._to_copy.default and not far) or (func is aten.copy_.default and bool(near) and bool(far))
    if comes:
        _waits_for(name, uploads)
    arrives = comes and not kwargs.get("non_blocking")
    read_masks = name in INDEXING and any(x.dtype == torch.bool for x in tree_leaves(args[1]) if isinstance(x, Far))
    if (far and (name in READS or read_masks)) or (copies and (leaves_it or arrives)):
        _waits_for(name)
    is_view = any(a.alias_info is not None and not a.alias_info.is_write for a in func._schema.arguments)
    if not is_view:
        kernels[name] += 1
    kwargs = dict(kwargs)
    if _names_it(device):
        kwargs["device"] = torch.device("cpu")
    kwargs.pop("pin_memory", None)
    if func is aten._to_copy.default:
        kwargs.pop("device", None)
    a, k = tree_map(lambda x: x.near if isinstance(x, Far) else x, (args, kwargs))
    out = func(*a, **k)
    into_near = func is aten.copy_.default and not isinstance(args[0], Far)
    if leaves_it or into_near or func is aten._local_scalar_dense.default or not (far or _names_it(device)):
        return out
    known = {id(x.near): x for x in far}  # what is changed in place is the same object afterwards

    def wrapped(x: Any) -> Any:
        return x if not isinstance(x, torch.Tensor) else known[id(x)] if id(x) in known else Far(x)

    return tree_map(wrapped, out)


def launched() -> int:
    """Kernels since ``forget``. Fused attention, which falls to pieces here, counts as one, as on real devices."""
    # Queries and keys scaled, their product, the bias added, softmax, and the product with the values.
    return kernels.total() - 5 * kernels["aten::_safe_softmax"]


def forget() -> None:
    """Count from zero."""
    waits.clear()
    kernels.clear()
    uploads.clear()
