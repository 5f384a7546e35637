"""HDF5 read from a distance: in a process of its own, with limits of time and memory.

The HDF5 library can crash or hang on a damaged file. The process that uses it may die; here its death is a message.
Tensors that lie in the file as they are, which is the rule, are mapped from here and never pass through it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from conversion.h5_child import receive, send
from deberta_core.checkpoint import CheckpointError, TensorInfo
from deberta_core.checkpoint.keras_h5 import H5File
from deberta_core.checkpoint.mapped import MappedFile
from deberta_core.checkpoint.tensors import DTYPES, Format, WriteRequest, as_native

# Environment variables, and what holds without them.
SECONDS = ("DEBERTA_H5_SECONDS", 60.0)
MEMORY = ("DEBERTA_H5_GIGABYTES", 4.0)
_DAMAGED = "the file is damaged or made to do harm; download or save it again"


class IsShardError(Exception):
    """A shard is HDF5: then one process reads the index and all shards, instead of one for each."""


class GuardedFile(Format):
    """An h5 file, or the index of its shards, read by another process.

    Args:
        file: the file.
        expected: names that an index gives to it.
        seconds: longest time for opening it, and for each tensor that cannot be mapped; default
            ``DEBERTA_H5_SECONDS`` of the environment, else 60.
        memory: bytes of address space that the other process may take; default ``DEBERTA_H5_GIGABYTES`` of the
            environment, else 4 GB.

    Raises:
        CheckpointError: damaged, refused, or reading it took too long or too much.
        IsShardError: ``expected`` is given.
        ValueError: an environment variable that is not a number above zero.
    """

    naming = "tf"
    suffixes = H5File.suffixes
    recognise = H5File.recognise

    def __init__(
        self,
        file: MappedFile,
        expected: Iterable[str] | None = None,
        *,
        seconds: float | None = None,
        memory: int | None = None,
    ) -> None:
        super().__init__(file, expected)
        if expected is not None:
            raise IsShardError
        self._seconds = _setting(*SECONDS) if seconds is None else seconds
        memory = int(_setting(*MEMORY) * 1e9) if memory is None else memory
        self._mapped = {str(file.path): file}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "conversion.h5_child", str(file.path), str(memory)], env=_environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._answers: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            self._take_over(self._answer())
        except BaseException:
            self.close()
            raise

    @classmethod
    def write(cls, request: WriteRequest) -> None:
        """Writing needs no guard."""
        H5File.write(request)

    def _listen(self) -> None:
        """Collect what the process says, so that waiting for it can end."""
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError), self._process.stdout as stream:
            while message := receive(stream):
                answer = json.loads(message)
                self._answers.put(message)
                if "nbytes" in answer:
                    self._answers.put(stream.read(answer["nbytes"]))
        self._answers.put(b"")

    def _next(self) -> bytes:
        try:
            message = self._answers.get(timeout=self._seconds)
        except queue.Empty:
            self._process.kill()
            problem = f"kept the HDF5 library busy for more than {self._seconds:g} s; given up"
            self._fail(problem, f"{_DAMAGED}; {SECONDS[0]} allows more")
        if not message:
            self._fail_of_death()
        return message

    def _answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._next())
        if "error" in answer:
            raise CheckpointError(answer["path"], answer["error"], answer["remedy"])
        return answer

    def _take_over(self, answer: dict[str, Any]) -> None:
        self.format, self.notes = answer["format"], tuple(answer["notes"])
        self.paths = tuple(Path(path) for path in answer["paths"])
        self.metadata, self.skipped = answer["metadata"], answer["skipped"]
        rows = answer["tensors"]
        self.tensors = {name: TensorInfo(name, tuple(shape), dtype) for name, shape, dtype, _, _ in rows}
        self._places: dict[str, tuple[str, int | None]] = {name: (path, place) for name, _, _, path, place in rows}
        for path in {path for path, _ in self._places.values()} - self._mapped.keys():
            self._mapped[path] = MappedFile(Path(path))

    def _load(self, name: str) -> np.ndarray[Any, Any]:
        info, (path, offset) = self.tensors[name], self._places[name]
        raw = DTYPES[info.dtype].raw
        if offset is not None:
            return as_native(self._mapped[path].view(offset, info.nbytes).view(raw).reshape(info.shape))
        assert self._process.stdin is not None
        try:
            send(self._process.stdin, info.name.encode())
        except BrokenPipeError:
            self._fail_of_death()
        self._answer()
        data = self._next() if info.nbytes else b""
        if len(data) != info.nbytes:
            self._fail(f"weight {info.name!r} came with {len(data)} bytes, not {info.nbytes}")
        return as_native(np.frombuffer(data, np.uint8).view(raw).reshape(info.shape))

    def close(self) -> None:
        """End the process; arrays that were read stay valid."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # a wish is left that the process did not live to read
                self._process.stdin.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for file in self._mapped.values():
            file.close()

    def _fail(self, problem: str, remedy: str = _DAMAGED) -> NoReturn:
        super()._fail(problem, remedy)

    def _fail_of_death(self) -> NoReturn:
        code = self._process.wait()
        names = {int(number): number.name for number in signal.Signals}
        death = f"exit code {code}" if code >= 0 else f"signal {names.get(-code, -code)}"
        self._fail(f"ended the process that reads HDF5 ({death})")


def _setting(name: str, default: float) -> float:
    """A number above zero from the environment."""
    text = os.environ.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise ValueError(f"environment variable {name} is {text!r}, expected a number above zero")
    return value


def _environment() -> dict[str, str]:
    """That of this process, in which the other one also finds this package; ``-P`` keeps it from finding, before it, a
    module of the same name in the folder where the user is.
    """
    here = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    # NumPy's threads, one for each core, take 40 MB of address space each, of which a large machine has none to spare.
    return {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
