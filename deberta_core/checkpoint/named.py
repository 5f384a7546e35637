"""Tensors that go by other names than their file has, or that are in memory already, read as a checkpoint is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from deberta_core.checkpoint.tensors import TensorFile, TensorInfo


class NamedTensors(TensorFile):
    """Tensors by name, each read when it is asked for.

    Args:
        tensors: name, shape and type, and what reads the elements (bfloat16 as uint16 bits), by name.
        file: the checkpoint that they are from, which is closed with this one; ``None`` for tensors in memory.
        renamed: name in the file of each tensor that has another one here.
    """

    def __init__(
        self,
        tensors: Mapping[str, tuple[TensorInfo, Callable[[], np.ndarray]]],
        file: TensorFile | None = None,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        self._tensors, self._file = tensors, file
        self.tensors = {name: info for name, (info, _) in tensors.items()}
        self.renamed = renamed or {}
        self.paths = (Path("the state_dict"),)
        if file is not None:
            self.format, self.naming, self.paths, self.metadata = file.format, file.naming, file.paths, file.metadata
            self.skipped, self.notes = file.skipped, file.notes
            plain = {stored: name for name, stored in self.renamed.items()}
            self.aliases = {plain.get(n, n): plain.get(first, first) for n, first in file.aliases.items()}

    def _load(self, name: str) -> np.ndarray:
        return self._tensors[name][1]()

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()

    def keep_open(self) -> None:
        """Let ``close`` do nothing, as of the file."""
        if self._file is not None:
            self._file.keep_open()
