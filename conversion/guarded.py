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
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from conversion.h5_child import receive, send
from deberta_core.checkpoint import CheckpointError, TensorFile, TensorInfo
from deberta_core.checkpoint.dtypes import DTYPES
from deberta_core.checkpoint.mapped_file import MappedFile, as_array

# Environment variables, and what holds without them.
SECONDS = ("DEBERTA_H5_SECONDS", 60.0)
MEMORY = ("DEBERTA_H5_GIGABYTES", 4.0)
_DAMAGED = "the file is damaged or made to do harm; download or save it again"


class GuardedFile(TensorFile):
    """An h5 file, or the index of its shards, read by another process.

    Args:
        path: the file.
        seconds: longest time for opening it, and for each tensor that cannot be mapped; default
            ``DEBERTA_H5_SECONDS`` of the environment, else 60.
        memory: bytes of address space that the other process may take; default ``DEBERTA_H5_GIGABYTES`` of the
            environment, else 4 GB.

    Raises:
        CheckpointError: damaged, refused, or reading it took too long or too much.
        ValueError: an environment variable that is not a number above zero.
    """

    naming = "tf"

    def __init__(self, path: Path, *, seconds: float | None = None, memory: int | None = None) -> None:
        self._path = path
        self._seconds = _setting(*SECONDS) if seconds is None else seconds
        memory = int(_setting(*MEMORY) * 1e9) if memory is None else memory
        self._mapped: dict[str, MappedFile] = {}
        MappedFile(path).close()  # says what is wrong with what is evidently no weights file
        self._process = subprocess.Popen(
            [sys.executable, "-m", "conversion.h5_child", str(path), str(memory)], env=_environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._answers: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            self._take_over(self._answer())
        except BaseException:
            self.close()
            raise

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
            self._fail(f"ended the process that reads HDF5 ({_death(self._process.wait())})")
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
        self._places: dict[str, tuple[str, int | None]] = {}
        tensors = {}
        for name, shape, dtype, path, offset in answer["tensors"]:
            tensors[name] = TensorInfo(name, tuple(shape), dtype)
            self._places[name] = (path, offset)
        self.tensors = tensors

    def _load(self, name: str) -> np.ndarray[Any, Any]:
        info, (path, offset) = self.tensors[name], self._places[name]
        raw = DTYPES[info.dtype].raw
        if offset is None:
            return self._request(info, raw)
        if path not in self._mapped:
            self._mapped[path] = MappedFile(Path(path))
        return as_array(self._mapped[path].view(offset, info.nbytes), raw, info.shape)

    def _request(self, info: TensorInfo, raw: np.dtype[Any]) -> np.ndarray[Any, Any]:
        assert self._process.stdin is not None
        try:
            send(self._process.stdin, info.name.encode())
        except BrokenPipeError:
            self._fail(f"ended the process that reads HDF5 ({_death(self._process.wait())})")
        self._answer()
        data = self._next() if info.nbytes else b""
        if len(data) != info.nbytes:
            self._fail(f"weight {info.name!r} came with {len(data)} bytes, not {info.nbytes}")
        return as_array(np.frombuffer(data, np.uint8), raw, info.shape)

    def close(self) -> None:
        """End the process; arrays that were read stay valid."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for file in self._mapped.values():
            file.close()

    def _fail(self, problem: str, remedy: str = _DAMAGED) -> NoReturn:
        raise CheckpointError(self._path, problem, remedy)


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
    """That of this process, in which the other one also finds this package."""
    here = str(Path(__file__).resolve().parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])}


def _death(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
