"""Further processes for an engine that is written in Python, where threads would wait for each other.

``python -m tokenization.workers`` is such a process. It gets the engine and then lists of texts on its standard input,
and answers each with the ids; it ends when its input does.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import IO, Protocol

Rows = list[list[int]]


class PickledEngine(Protocol):
    """An engine that another process can have a copy of."""

    def encode(self, texts: Sequence[str], *, num_threads: int = 1) -> Rows:
        """Ids of each text."""


class Workers:
    """Processes with a copy of an engine each. They start when they are first needed and end with this object.

    Args:
        engine: what is copied, as it is now.
    """

    def __init__(self, engine: PickledEngine) -> None:
        self._pickled = pickle.dumps(engine)
        self._workers: list[_Worker] = []
        self._owner = os.getpid()
        self._lock = threading.Lock()
        weakref.finalize(self, _end, self._workers, self._owner)

    def encode(self, engine: PickledEngine, texts: Sequence[str], count: int) -> Rows | None:
        """Ids of each text, the work shared by this process and further ones.

        Args:
            engine: does this process's part.
            texts: the batch.
            count: processes, this one included.

        Returns:
            None where it cannot be done: another thread is at it, this is a fork, or a process could not be started
            or has failed, be it because of a text.
        """
        if os.getpid() != self._owner or not self._lock.acquire(blocking=False):
            return None
        try:
            self._workers += [_Worker(self._pickled) for _ in range(count - 1 - len(self._workers))]
            mine, *others = _shares(texts, count)
            with ThreadPoolExecutor(count - 1) as threads:
                asked = [
                    threads.submit(worker.encode, share) for worker, share in zip(self._workers, others, strict=False)
                ]
                own = engine.encode(mine)
                return [*own, *chain.from_iterable(answer.result() for answer in asked)]
        except BaseException as error:  # an answer that nobody waits for must not meet the next question
            _end(self._workers, self._owner)
            if isinstance(error, (OSError, EOFError, ValueError, pickle.UnpicklingError)):
                return None
            raise
        finally:
            self._lock.release()


class _Worker:
    """One process.

    Args:
        engine: pickled; sent with the first texts.
    """

    def __init__(self, engine: bytes) -> None:
        here = str(Path(__file__).resolve().parents[1])
        paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._unsent = engine
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tokenization.workers"], env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def encode(self, texts: Sequence[str]) -> Rows:
        """Ids of each text."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        _send(self._process.stdin, self._unsent + pickle.dumps(list(texts)))
        self._unsent = b""
        lengths, ids = pickle.load(self._process.stdout)
        flat = ids.tolist()
        return [flat[begin:end] for begin, end in pairwise(accumulate(lengths, initial=0))]

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.communicate()


def _end(workers: list[_Worker], owner: int) -> None:
    """End processes; they are not those of a fork, which ends with a copy of the list."""
    while workers and os.getpid() == owner:
        workers.pop().end()


def _shares(texts: Sequence[str], count: int) -> list[Sequence[str]]:
    """Stretches of a batch with about as many characters each."""
    ends = list(accumulate(map(len, texts)))
    inner = [bisect_left(ends, ends[-1] * number // count) for number in range(1, count)]
    return [texts[begin:end] for begin, end in pairwise([0, *inner, len(texts)])]


def _send(stream: IO[bytes], data: bytes) -> None:
    stream.write(data)
    stream.flush()


def main() -> None:
    """Serve texts until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks ends this one
    texts, answers = sys.stdin.buffer, sys.stdout.buffer
    engine: PickledEngine = pickle.load(texts)
    while True:
        try:
            encoded = engine.encode(pickle.load(texts))
        except EOFError:
            return
        lengths, ids = array("q", map(len, encoded)), array("i", chain.from_iterable(encoded))
        _send(answers, pickle.dumps((lengths, ids)))


if __name__ == "__main__":
    main()
