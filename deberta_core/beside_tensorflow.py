"""Triton beside TensorFlow: each brings an LLVM, and two of them in a process end it unless they keep apart."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder
from types import ModuleType

LIBRARY = "triton._C.libtriton"


class _KeptApart(ExtensionFileLoader):
    """Loads a library that looks for names in itself first, if TensorFlow has brought the same ones before it."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """As of any library."""
        if "tensorflow" in sys.modules and spec.origin:
            # Who opens it first decides for all; Python's own flags are those of all threads.
            ctypes.CDLL(spec.origin, mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
        return super().create_module(spec)


class _OfTriton(MetaPathFinder):
    """Finds Triton's library, whoever imports it: PyTorch does so in the first ``torch.optim.AdamW`` already."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The library's place, with a loader of ours; ``None`` for all other modules."""
        spec = PathFinder.find_spec(name, path, target) if name == LIBRARY else None
        if spec is None or spec.origin is None or not isinstance(spec.loader, ExtensionFileLoader):
            return None  # as where somebody has put a module of Python's in its place
        spec.loader = _KeptApart(name, spec.origin)
        return spec


def keep_triton_apart() -> None:
    """Let Triton be imported after TensorFlow, which builds of PyTorch for CUDA do, and which ended the process.

    Triton before TensorFlow does no harm. Nothing is imported here: to import Triton takes a second.
    """
    # Linux alone has the flag. An object, since Python calls methods of what stands there.
    if hasattr(os, "RTLD_DEEPBIND") and not any(isinstance(finder, _OfTriton) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OfTriton())
