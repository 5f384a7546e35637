"""The safetensors format: eight bytes of length, a JSON header, the elements.

Names, shapes, types and texts of the header come from the ``safetensors`` library. The elements are read here, by
their place in the file, since the library has no NumPy type for bfloat16 and float8; and written here, since it wants
all tensors in memory at once, where a converter holds one.

Source: https://github.com/huggingface/safetensors, section "Format".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
from safetensors import SafetensorError, safe_open

from deberta_core.checkpoint.errors import CheckpointError
from deberta_core.checkpoint.mapped import MappedFile
from deberta_core.checkpoint.streams import Sender, write_all
from deberta_core.checkpoint.tensors import (
    BY_SAFETENSORS,
    DTYPES,
    MAX_RANK,
    Format,
    TensorInfo,
    WriteRequest,
    are_sizes,
    as_native,
    is_text,
    recognise_naming,
)

_MAX_HEADER = 100_000_000  # bytes; the limit of the format


class SafetensorsFile(Format):
    """One .safetensors file.

    Raises:
        CheckpointError: the header contradicts itself or the file.
    """

    format = "safetensors"
    suffixes = (".safetensors",)

    def __init__(self, file: MappedFile, expected: Iterable[str] | None = None) -> None:
        super().__init__(file, expected)
        try:
            with safe_open(file.path, framework="np") as library:
                self.metadata = library.metadata() or {}
                slices = {name: library.get_slice(name) for name in library.offset_keys()}
                codes = {name: piece.get_dtype() for name, piece in slices.items()}
                shapes = {name: tuple(piece.get_shape()) for name, piece in slices.items()}
        except (SafetensorError, OSError) as error:
            self._explain(error)
        if not set(codes.values()) <= BY_SAFETENSORS.keys() or any(len(shape) > MAX_RANK for shape in shapes.values()):
            self._explain(ValueError("a type or shape that is not supported"))
        self.tensors = {name: TensorInfo(name, shapes[name], BY_SAFETENSORS[code].name) for name, code in codes.items()}
        self.naming = recognise_naming(self.tensors)
        # The library says no offsets, but has checked that tensors follow each other without a gap.
        self._starts: dict[str, int] = {}
        position = 8 + int.from_bytes(file.head[:8], "little")
        for name, info in self.tensors.items():
            self._starts[name] = position
            position += info.nbytes

    @classmethod
    def recognise(cls, file: MappedFile) -> bool:
        """By the brace of the header, which is after its length, whatever bytes that has."""
        return file.head[8:9] == b"{"

    def _load(self, name: str) -> np.ndarray:
        info = self.tensors[name]
        data = self._file.view(self._starts[name], info.nbytes)
        return as_native(data.view(DTYPES[info.dtype].raw).reshape(info.shape))

    # Refusing.

    def _explain(self, error: Exception) -> NoReturn:
        """Say what is wrong with a header that the library refused in a word."""
        header = self._read_header()
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            self._fail("has a __metadata__ that is not a table of texts")
        infos = {name: self._check_entry(name, entry) for name, entry in header.items()}
        position = 0
        for start, nbytes, name in sorted((header[n]["data_offsets"][0], info.nbytes, n) for n, info in infos.items()):
            if start != position:
                kind = "overlaps the tensor before it" if start < position else "leaves a gap before it"
                self._fail(f"has tensor {name!r} starting at byte {start} of the data, which {kind} (at {position})")
            position += nbytes
        if position != self._data:
            self._fail(f"has {self._data} bytes of data where its header lists {position}")
        self._fail(f"is refused by the safetensors library ({error})")

    def _read_header(self) -> dict[str, Any]:
        rest = self._file.size - 8
        if rest < 0:
            self._fail(f"has {self._file.size} bytes, too few for a safetensors file")
        length = int.from_bytes(self._file.head[:8], "little")
        if length > min(rest, _MAX_HEADER):
            claim = f"its header would take {length} bytes, of {rest} in the file"
            self._fail(f"is no safetensors file or is cut short: {claim}")
        self._data = rest - length
        text = self._file.read(8, length)
        if not text.startswith(b"{"):
            self._fail("is no safetensors file: its header is not a JSON object")
        try:
            header: dict[str, Any] = json.loads(
                text.decode("utf-8"), object_pairs_hook=self._unique, parse_constant=self._refuse_constant
            )
        except CheckpointError:
            raise
        except (ValueError, RecursionError) as error:
            self._fail(f"has a header that is not valid JSON ({error})")
        return header

    def _unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            self._fail(f"lists {twice!r} twice in its header")
        return result

    def _refuse_constant(self, text: str) -> NoReturn:
        self._fail(f"has {text} in its header where a whole number belongs")

    def _check_entry(self, name: str, entry: Any) -> TensorInfo:
        if not is_text(name):
            self._fail(f"lists a tensor whose name {name!r} is not text")
        if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
            self._fail(f"describes tensor {name!r} without dtype, shape and data_offsets")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in BY_SAFETENSORS:
            known = ", ".join(map(str, BY_SAFETENSORS))
            problem = f"stores tensor {name!r} as {code!r}, which is not supported"
            self._fail(problem, f"expected one of {known}; save it in one of these types")
        if not are_sizes(shape):
            self._fail(f"gives tensor {name!r} a shape that is not a list of at most {MAX_RANK} sizes")
        if not are_sizes(offsets) or len(offsets) != 2:
            self._fail(f"gives tensor {name!r} data_offsets that are not two positions")
        info = TensorInfo(name, tuple(shape), BY_SAFETENSORS[code].name)
        given = offsets[1] - offsets[0]
        if given != info.nbytes:
            self._fail(f"gives tensor {name!r} of type {code} and shape {shape} {given} bytes, not {info.nbytes}")
        return info

    # Writing.

    @classmethod
    def has_place_for(cls, info: TensorInfo) -> str:
        """All types that the format has a code for; one name is its own."""
        return "type" if DTYPES[info.dtype].safetensors is None else "name" if info.name == "__metadata__" else ""

    @classmethod
    def arrange(cls, infos: Sequence[TensorInfo]) -> Sequence[TensorInfo]:
        """Widest elements first, so that all are aligned without gaps, which the format forbids; then by name."""
        return sorted(infos, key=lambda info: (-DTYPES[info.dtype].raw.itemsize, info.name))

    @classmethod
    def write(cls, request: WriteRequest) -> None:
        """Write one file with the naming in its metadata, where other libraries look for it."""
        header: dict[str, Any] = {"__metadata__": dict(sorted({**request.metadata, "format": request.naming}.items()))}
        position = 0
        for info, _ in request.tensors:
            offsets = [position, position := position + info.nbytes]
            header[info.name] = {
                "dtype": DTYPES[info.dtype].safetensors, "shape": list(info.shape), "data_offsets": offsets
            }  # fmt: skip
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        # Blanks behind the header let the data begin at a multiple of eight bytes: mapped elements are then aligned.
        text += b" " * (-len(text) % 8)
        with open(request.path, "wb", buffering=0) as file, Sender(request.progress) as sender:
            write_all(file, len(text).to_bytes(8, "little") + text)
            for info, source in request.tensors:
                sender.send(info, source, lambda block: write_all(file, block))
