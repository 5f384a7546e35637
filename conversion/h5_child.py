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
from deberta_core.checkpoint import CheckpointError
from deberta_core.checkpoint.keras_h5 import H5File
from deberta_core.checkpoint.mapped import MappedFile
from deberta_core.checkpoint.shards import ShardedFile
from deberta_core.file_names import is_index
from deberta_core.files import Reading

_LENGTH = 4  # bytes


def main(arguments: list[str]) -> int:
    """Serve one file until the other end has no more wishes."""
    path, memory = Path(arguments[0]), int(arguments[1])
    _limit_memory(memory)
    wishes, answers = sys.stdin.buffer, sys.stdout.buffer
    parts: list[H5File] = []

    def open_one(part: Path, expected: list[str] | None = None) -> H5File:
        parts.append(KerasWeightsFile(MappedFile(part), expected))
        return parts[-1]

    try:
        file = ShardedFile(Reading(path.parent), path.name, open_one) if is_index(path.name) else open_one(path)
        tensors = [
            [name, info.shape, info.dtype, str(part.paths[0]), part.place(name)]
            for part in parts for name, info in part.tensors.items()
        ]  # fmt: skip
        _send_json(
            answers, format=file.format, paths=[str(path) for path in file.paths], metadata=dict(file.metadata),
            notes=list(file.notes), skipped=dict(file.skipped), tensors=tensors,
        )  # fmt: skip
        while wish := receive(wishes):
            data = file.read_raw(wish.decode()).tobytes()  # before anything is said of it: this may fail
            _send_json(answers, nbytes=len(data))
            answers.write(data)
            answers.flush()
    except Exception as error:
        shown, problem, remedy = str(path), f"cannot be read ({type(error).__name__}: {error})", "it is damaged"
        if isinstance(error, MemoryError) or isinstance(error.__context__, MemoryError):  # by the limit above
            problem = f"takes more than {memory / 1e9:.1f} GB of memory to read"
            remedy = "DEBERTA_H5_GIGABYTES allows more, if you trust the file"
        elif isinstance(error, CheckpointError):
            shown, problem, remedy = error.path, error.problem, error.remedy
        _send_json(answers, path=shown, error=problem, remedy=remedy)
    return 0


def _limit_memory(nbytes: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows; there only time is limited
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (nbytes, nbytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _send_json(answers: IO[bytes], **content: Any) -> None:
    send(answers, json.dumps(content).encode())


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
