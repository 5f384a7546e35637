"""The side file: tensors that the weights file has no place for, and what the way back must know.

``unused_weights.safetensors`` stands beside a ``tf_model.h5`` whose source had more than TensorFlow's classes can hold:
a table of position indices, a head of another project, differences to a generator's tables (``._weight``). Its header
also records what cannot be read off the weights. A conversion of the folder takes both up again, so that the way there
and back changes no bit; of the models only those with layers of a user's own look into it, and it may be deleted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deberta_core.checkpoint import CheckpointError, TensorFile
from deberta_core.checkpoint.safetensors import SafetensorsFile
from deberta_core.checkpoint.weights import open_file
from deberta_core.file_names import SIDE_FILE as SIDE_FILE
from deberta_core.files import Reading

_ENTRY = "conversion"


@dataclass
class Record:
    """What a conversion changed that its result does not show.

    Attributes:
        prefix: what the encoder's names began with in the PyTorch file; None where the usual rule gives it.
        names: TF name by PyTorch name, of tensors whose TF name does not follow from the PyTorch name.
        widened: names of tensors that are stored as float32 and were bfloat16, which h5 does not have.
        aliases: second names of tensors in the .bin file, with the first; None where the usual rule gives them.
    """

    prefix: str | None = None
    names: dict[str, str] = field(default_factory=dict)
    widened: list[str] = field(default_factory=list)
    aliases: dict[str, str] | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to record."""
        return self != Record()

    def to_metadata(self) -> dict[str, str]:
        """The entry of a safetensors header."""
        return {_ENTRY: json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)}


def read_record(metadata: Mapping[str, str], path: Path) -> Record:
    """The record in a header.

    Raises:
        CheckpointError: if it is not what a conversion writes.
    """
    if _ENTRY not in metadata:  # somebody's own file of this name: its tensors count, and it says nothing more
        return Record()
    try:
        values: Any = json.loads(metadata[_ENTRY])
        record = Record(**values)
        good = (
            isinstance(record.prefix, str | None)
            and _is_names(record.names)
            and isinstance(record.widened, list)
            and all(isinstance(name, str) for name in record.widened)
            and (record.aliases is None or _is_names(record.aliases))
        )
    except (ValueError, TypeError, RecursionError):
        good = False
    if not good:
        raise CheckpointError(path, "has a header that no conversion writes", "delete it; it holds only unused weights")
    return record


def open_side_file(reading: Reading) -> tuple[TensorFile | None, Record]:
    """The side file of a folder and its record, where there is one.

    Raises:
        CheckpointError: damaged.
    """
    path = reading.find(SIDE_FILE)
    if path is None:
        return None, Record()
    file = open_file(path, (SafetensorsFile,))
    try:
        return file, read_record(file.metadata, path)
    except BaseException:
        file.close()
        raise


def _is_names(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)
