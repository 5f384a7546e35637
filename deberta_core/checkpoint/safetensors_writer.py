"""Writer of the safetensors format.

Source: https://github.com/huggingface/safetensors, section "Format".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deberta_core.checkpoint.dtypes import DTYPES
from deberta_core.checkpoint.streams import Sender, Source, write_all
from deberta_core.checkpoint.tensor_file import TensorInfo


def order(infos: Sequence[TensorInfo]) -> list[TensorInfo]:
    """Tensors in the order of the file: widest elements first, so that each is aligned, then by name."""
    return sorted(infos, key=lambda info: (-DTYPES[info.dtype].raw.itemsize, info.name))


def write_safetensors(
    path: Path,
    tensors: Sequence[tuple[TensorInfo, Source]],
    metadata: Mapping[str, str],
    progress: Callable[[int], None],
) -> None:
    """Write one file.

    Args:
        path: an existing empty file.
        tensors: in the order of ``order``.
        metadata: texts to keep in the header.
        progress: told the number of bytes after each run that was written.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    position = 0
    for info, _ in tensors:
        end = position + info.nbytes
        header[info.name] = {
            "dtype": DTYPES[info.dtype].safetensors,
            "shape": list(info.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with open(path, "wb", buffering=0) as file, Sender(progress) as sender:
        write_all(file, len(text).to_bytes(8, "little") + text)
        for info, source in tensors:
            sender.send(info, source, lambda block: write_all(file, block))
