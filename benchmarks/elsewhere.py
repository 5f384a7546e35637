"""Sides that run in an environment of their own, since what they need does not go with the rest; it is made once."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.settings import Shape
from benchmarks.timing import Side

ROOT = Path(__file__).resolve().parent.parent


class Elsewhere:
    """A program that computes when it is told to, by the lines that ``keras_hub_side`` reads and writes.

    Args:
        name: of the environment, ``.venv-NAME``.
        packages: what pip installs into it.
        program: what its Python runs, in the root of the repository.
        variables: of the program's environment.

    Raises:
        ImportError: if the environment cannot be made, or the program does not start.
    """

    def __init__(self, name: str, packages: list[str], program: list[str], variables: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [environment(ROOT / f".venv-{name}", packages), *program],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **variables},
        )  # fmt: skip
        if self._answer() != "ready":
            self.process.kill()
            raise ImportError(f"{' '.join(program)} does not start in .venv-{name}")

    def side(self, shape: Shape, compiled: bool) -> Side:
        """What computes one batch; the way to the other process and back is part of its time, some 0.1 ms."""
        return functools.partial(self._ask, json.dumps({"shape": shape, "compiled": compiled}))

    def _ask(self, words: str) -> None:
        try:
            print(words, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise RuntimeError("the other process has ended") from None
        answer = self._answer()
        if answer != "done":
            raise RuntimeError(answer or "the other process has ended")

    def _answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()


def environment(folder: Path, packages: list[str]) -> str:
    """The Python of an environment that has the packages; a file written last says that it is whole.

    Raises:
        ImportError: if pip cannot install them.
    """
    python, stamp = folder / "bin" / "python", folder / ".installed"
    if not stamp.exists() or stamp.read_text(encoding="utf-8").split() != packages:
        print(f"  installing {' '.join(packages)} into {folder.name}", file=sys.stderr, flush=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, stdout=sys.stderr)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), *packages], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ImportError(f"{folder.name} cannot be made: {error}") from error
        stamp.write_text("\n".join(packages), encoding="utf-8")
    return str(python)
