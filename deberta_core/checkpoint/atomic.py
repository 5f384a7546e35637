"""Replacing files so that a folder holds either its old state or the new one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class Replacement:
    """New files that take the place of old ones together, at the end.

    Each is written under a temporary name in the same folder. Leaving the ``with`` statement through an exception, or
    without ``commit``, removes them and the folder is as before.

    Args:
        folder: folder of all the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._token = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._new: dict[str, Path] = {}
        self._old: dict[str, Path] = {}
        self._done = False

    def create(self, name: str) -> Path:
        """Make an empty file that will be called ``name``, and return where to write it now.

        Raises:
            OSError: the folder cannot be written to.
        """
        path = self._hidden(name, "new")
        self._new[name] = path
        # Not tempfile's: its files are private to the user, and a model is as readable as any new file.
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        os.close(descriptor)
        return path

    def commit(self, stale: Sequence[str] = ()) -> list[Path]:
        """Put the new files in place, in the order of their creation, then remove stale ones.

        The file created last, such as the index of shards, is out of the way while the others change, so that no
        reader meets it with files that are not its own.

        Args:
            stale: names of files that the new state does not have.

        Returns:
            Paths of the new files.
        """
        names = list(self._new)
        for path in self._new.values():
            _flush(path)
        if len(names) == 1:  # one step, which needs no way back
            os.replace(self._new[names[0]], self._folder / names[0])
        else:
            self._exchange(names)
        self._done = True
        for name in stale:
            (self._folder / name).unlink(missing_ok=True)
        self._remove_hidden()
        _flush(self._folder)
        return [self._folder / name for name in names]

    def _hidden(self, name: str, kind: str) -> Path:
        return self._folder / f".{name}.{self._token}.{kind}"

    def _exchange(self, names: Sequence[str]) -> None:
        try:
            for name in reversed(names):
                if os.path.lexists(self._folder / name):
                    # Noted before the rename, so that an interruption in between is undone, too.
                    self._old[name] = self._hidden(name, "old")
                    os.replace(self._folder / name, self._old[name])
            for name in names:
                os.replace(self._new[name], self._folder / name)
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        for name in self._new:
            if not self._new[name].exists():
                (self._folder / name).unlink(missing_ok=True)
        for name, hidden in self._old.items():
            if os.path.lexists(hidden):
                os.replace(hidden, self._folder / name)
        self._old.clear()

    def _remove_hidden(self) -> None:
        old = self._old.values() if self._done else ()
        for path in (*self._new.values(), *old):
            path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove_hidden()


def _flush(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder on Windows
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
