"""The process in which the command line reads HDF5: ``python -m conversion.h5_child FILE BYTES_OF_MEMORY``.

It opens the file, says what is in it, and sends the tensors that cannot be mapped from outside. Whatever the HDF5
library does to it, the process that asked goes on. Messages on its standard streams are four bytes of length and a
text; ``GuardedFile`` is the other end.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import IO, Any

from conversion.keras_files import KerasWeightsFile
from deberta_core.checkpoint import CheckpointError, TensorFile
from deberta_core.checkpoint.dtypes import DTYPES
from deberta_core.checkpoint.h5_reader import H5File
from deberta_core.checkpoint.locate import is_index
from deberta_core.checkpoint.shards import ShardedFile

_LENGTH = 4  # bytes


def main(arguments: list[str]) -> int:
    """Serve one file until the other end has no more wishes."""
    path, memory = Path(arguments[0]), int(arguments[1])
    _limit_memory(memory)
    wishes, answers = sys.stdin.buffer, sys.stdout.buffer
    try:
        file, parts = open_h5(path)
        send(answers, json.dumps(_describe(file, parts)).encode())
        while wish := receive(wishes):
            array = file.read_raw(wish.decode())
            send(answers, json.dumps({"nbytes": array.nbytes}).encode())
            answers.write(array.tobytes())
            answers.flush()
    except CheckpointError as error:
        _send_error(answers, error.path, error.problem, error.remedy)
    except MemoryError:
        problem = f"takes more than {memory / 1e9:.1f} GB of memory to read"
        _send_error(answers, str(path), problem, "DEBERTA_H5_GIGABYTES allows more, if you trust the file")
    except Exception as error:
        _send_error(answers, str(path), f"cannot be read ({type(error).__name__}: {error})", "it is damaged")
    return 0


def _limit_memory(nbytes: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows; there only time is limited
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (nbytes, nbytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def open_h5(path: Path) -> tuple[TensorFile, list[H5File]]:
    """An h5 file or the shards of an index, and the single files in it.

    Raises:
        CheckpointError: damaged, or without weights.
    """
    parts: list[H5File] = []

    def open_one(part: Path, expected: list[str] | None = None) -> H5File:
        parts.append(KerasWeightsFile(part) if has_keras_layout(part) else H5File(part, expected))
        return parts[-1]

    return (ShardedFile(path, open_one) if is_index(path) else open_one(path)), parts


def has_keras_layout(path: Path) -> bool:
    """Whether an h5 file has no list of layers but groups of Keras's own layout."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as root:
            listed = "model_weights" in root or any(key.startswith("layer_names") for key in root.attrs)
            return not listed and ("layers" in root or "_layer_checkpoint_dependencies" in root)
    except (OSError, RuntimeError, ValueError, KeyError):
        return False  # the reader says what is wrong with it


def _describe(file: TensorFile, parts: list[H5File]) -> dict[str, Any]:
    tensors = []
    for name, info in file.tensors.items():
        part = next(part for part in parts if name in part.tensors)
        tensors.append([name, list(info.shape), info.dtype, str(part.paths[0]), _offset(part, name)])
    return {
        "format": file.format, "paths": [str(path) for path in file.paths], "metadata": dict(file.metadata),
        "notes": list(file.notes), "skipped": dict(file.skipped), "tensors": tensors,
    }  # fmt: skip


def _offset(part: H5File, name: str) -> int | None:
    """Where the elements lie in the file as they are, if they do."""
    dataset = part._datasets[name]
    as_stored = dataset.dtype == DTYPES[part.tensors[name].dtype].raw
    offset = dataset.id.get_offset() if as_stored else None
    return None if offset is None else int(offset)


def _send_error(answers: IO[bytes], path: str, problem: str, remedy: str) -> None:
    send(answers, json.dumps({"path": path, "error": problem, "remedy": remedy}).encode())


def send(stream: IO[bytes], message: bytes) -> None:
    """Write one message."""
    stream.write(len(message).to_bytes(_LENGTH, "big") + message)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes:
    """Read one message; empty at the end of the stream."""
    length = int.from_bytes(stream.read(_LENGTH), "big")
    return stream.read(length)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
