"""Reader of the safetensors format.

The header is parsed here rather than by the library, so that every check happens before memory is taken and every
refusal says what was wrong.

Source: https://github.com/huggingface/safetensors, section "Format".
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from deberta_core.checkpoint.dtypes import BY_SAFETENSORS, DTYPES, byte_count
from deberta_core.checkpoint.errors import CheckpointError
from deberta_core.checkpoint.mapped_file import MappedFile, as_array
from deberta_core.checkpoint.tensor_file import TensorFile, TensorInfo, is_text, recognise_naming

_MAX_HEADER = 100_000_000  # bytes; the limit of the format
_MAX_RANK = 32
_AGAIN = "the file is cut short or damaged; download or save it again"


class SafetensorsFile(TensorFile):
    """One .safetensors file.

    Args:
        path: the file.

    Raises:
        CheckpointError: the header contradicts itself or the file.
        FileNotFoundError: no such file.
    """

    format = "safetensors"

    def __init__(self, path: Path) -> None:
        self.paths = (path,)
        self._file = MappedFile(path)
        try:
            header, self._data_start = self._read_header()
            self.metadata = self._check_metadata(header.pop("__metadata__", {}))
            self._offsets: dict[str, int] = {}
            self.tensors = self._check_tensors(header)
        except BaseException:
            self._file.close()
            raise
        self.naming = recognise_naming(self.tensors)

    def _load(self, name: str) -> np.ndarray:
        info = self.tensors[name]
        view = self._file.view(self._data_start + self._offsets[name], info.nbytes)
        return as_array(view, DTYPES[info.dtype].raw, info.shape)

    def close(self) -> None:
        """Close the file; arrays that were read stay valid."""
        self._file.close()

    def _fail(self, problem: str, remedy: str = _AGAIN) -> NoReturn:
        raise CheckpointError(self.paths[0], problem, remedy)

    def _read_header(self) -> tuple[dict[str, Any], int]:
        if self._file.size < 8:
            self._fail(f"has {self._file.size} bytes, too few for a safetensors file")
        length = int.from_bytes(self._file.read(0, 8), "little")
        if length > min(self._file.size - 8, _MAX_HEADER):
            self._fail(
                f"is no safetensors file or is cut short: its header would take {length} bytes, "
                f"of {self._file.size - 8} in the file"
            )
        text = self._file.read(8, length)
        if not text.startswith(b"{"):
            self._fail("is no safetensors file: its header is not a JSON object")
        try:
            header = json.loads(text.decode("utf-8"), object_pairs_hook=self._unique, parse_constant=self._constant)
        except CheckpointError:
            raise
        except (ValueError, RecursionError) as error:
            self._fail(f"has a header that is not valid JSON ({error})")
        return header, 8 + length

    def _unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            self._fail(f"lists {twice!r} twice in its header")
        return result

    def _constant(self, text: str) -> NoReturn:
        self._fail(f"has {text} in its header where a whole number belongs")

    def _check_metadata(self, metadata: Any) -> dict[str, str]:
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            self._fail("has a __metadata__ that is not a table of texts")
        return metadata

    def _check_tensors(self, header: dict[str, Any]) -> dict[str, TensorInfo]:
        infos = {name: self._check_entry(name, entry) for name, entry in header.items()}
        infos = dict(sorted(infos.items(), key=lambda item: (self._offsets[item[0]], item[1].nbytes)))
        position = 0
        for name, info in infos.items():
            start = self._offsets[name]
            if start != position:
                kind = "overlaps the tensor before it" if start < position else "leaves a gap before it"
                self._fail(f"has tensor {name!r} starting at byte {start} of the data, which {kind} (at {position})")
            position += info.nbytes
        if position != self._file.size - self._data_start:
            self._fail(f"has {self._file.size - self._data_start} bytes of data where its header lists {position}")
        return infos

    def _check_entry(self, name: str, entry: Any) -> TensorInfo:
        if not is_text(name):
            self._fail(f"lists a tensor whose name {name!r} is not text")
        if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
            self._fail(f"describes tensor {name!r} without dtype, shape and data_offsets")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in BY_SAFETENSORS:
            self._fail(
                f"stores tensor {name!r} as {code!r}, which is not supported",
                f"expected one of {', '.join(map(str, BY_SAFETENSORS))}; save it in one of these types",
            )
        if not _are_sizes(shape) or len(shape) > _MAX_RANK:
            self._fail(f"gives tensor {name!r} a shape that is not a list of at most {_MAX_RANK} sizes")
        if not _are_sizes(offsets) or len(offsets) != 2:
            self._fail(f"gives tensor {name!r} data_offsets that are not two positions")
        info = TensorInfo(name, tuple(shape), BY_SAFETENSORS[code].name)
        needed = byte_count(info.shape, info.dtype)
        if offsets[1] - offsets[0] != needed:
            self._fail(
                f"gives tensor {name!r} of type {code} and shape {shape} {offsets[1] - offsets[0]} bytes, not {needed}"
            )
        self._offsets[name] = offsets[0]
        return info


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
