"""What every reader offers: names, shapes and types of a checkpoint at once, its tensors one at a time."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from deberta_core.checkpoint.dtypes import bfloat16_to_float32, byte_count


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a checkpoint, without its data.

    Args:
        name: key in the file; TensorFlow names without the leading class name, with ``:0``.
        shape: shape as stored.
        dtype: element type, such as ``"float32"`` or ``"bfloat16"``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes that the tensor takes when stored densely."""
        return byte_count(self.shape, self.dtype)


class TensorFile(ABC):
    """One open checkpoint, a single file or a set of shards, of any format. A context manager.

    Attributes:
        format: ``"safetensors"``, ``"bin"`` or ``"h5"``.
        naming: ``"pt"`` or ``"tf"``: whose names the tensors have.
        paths: files that are read.
        metadata: free text that the file carries.
        tensors: what the file holds, in the order of the file; no data is read for it.
        skipped: entries of a .bin file that are no tensors, by name, with their kind.
        aliases: tensors of a .bin file that are the very same as an earlier one: name to first name.
        notes: remarks for people about how the file was understood.
    """

    format: str = ""
    naming: str = "pt"
    paths: tuple[Path, ...] = ()
    metadata: Mapping[str, str] = {}
    tensors: Mapping[str, TensorInfo] = {}
    skipped: Mapping[str, str] = {}
    aliases: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()

    def read(self, name: str) -> np.ndarray:
        """One tensor, read-only, mapped where the file allows it.

        Args:
            name: key of ``tensors``.

        Returns:
            The tensor with its stored shape and type; bfloat16 widened to float32, which loses nothing.

        Raises:
            KeyError: no such tensor.
            CheckpointError: the file is damaged.
        """
        array = self.read_raw(name)
        if self.tensors[name].dtype == "bfloat16":
            array = bfloat16_to_float32(array)
            array.flags.writeable = False
        return array

    def read_raw(self, name: str) -> np.ndarray:
        """As ``read``, but bfloat16 comes as its uint16 bit patterns.

        Raises:
            KeyError: no such tensor.
            CheckpointError: the file is damaged.
        """
        if name not in self.tensors:
            near = difflib.get_close_matches(name, self.tensors, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise KeyError(f"no tensor {name!r} in {self.paths[0] if self.paths else 'the checkpoint'}{hint}")
        return self._load(name)

    @abstractmethod
    def _load(self, name: str) -> np.ndarray:
        """The stored elements of a tensor that is known to exist."""

    @abstractmethod
    def close(self) -> None:
        """Close the files; arrays that were read stay valid."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def recognise_naming(names: Iterable[str]) -> str:
    """Whose names these are: ``"tf"`` for paths such as ``deberta/embeddings/LayerNorm/gamma:0``, else ``"pt"``."""
    return "tf" if any("/" in name and name.endswith(":0") for name in names) else "pt"


def is_text(name: str) -> bool:
    """Whether a name can be written to a file: JSON and pickles can spell halves of characters, which cannot."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)
