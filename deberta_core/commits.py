"""Between two states of a folder: the note that says which files are the new ones, and the lock that writers hold.

A commit of several files takes several renames. The note is put down before the first and removed after the last. A
process that is killed in between leaves it, and whoever writes next finishes what it says.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NOTE = ".deberta-commit"
STAGE = re.compile(r"\.deberta-[0-9a-f]{16}")
_LARGEST_NOTE = 1 << 24  # bytes
_LONGEST_COMMIT = 60.0  # seconds that renames may take, where no lock says whether their process is alive
_LONGEST_WRITE = 86400.0  # seconds that may pass between two writes of new files, there


@dataclass(frozen=True)
class Note:
    """Which files are the new ones while they are put in place.

    Args:
        folder: of the files.
        stage: hidden folder in it; new files come from its ``new``, old ones go to its ``old``.
        names: files of the new state.
        gone: files that the new state does not have.
        backward: the old state counts again: the exchange failed and is being undone.
    """

    folder: Path
    stage: str
    names: tuple[str, ...]
    gone: tuple[str, ...]
    backward: bool = False

    @property
    def path(self) -> Path:
        """Of the note."""
        return self.folder / NOTE

    @classmethod
    def read(cls, folder: Path) -> Note | None:
        """The note of a folder; None where there is none, or one that no program of ours wrote."""
        try:
            with open(folder / NOTE, encoding="utf-8") as file:
                stage, names, gone, backward = json.loads(file.read(_LARGEST_NOTE))
            note = cls(folder, stage, tuple(names), tuple(gone), backward is True)
            whole = STAGE.fullmatch(stage) and all(note._is_inside(name) for name in (*note.names, *note.gone))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return note if whole else None

    def _is_inside(self, name: str) -> bool:
        """Whether a name stays in the folder; a folder that came from elsewhere may hold any note, and any link."""
        parent = (self.folder / name).parent
        return ".." not in Path(name).parts and self.folder.resolve() in (parent.resolve(), *parent.resolve().parents)

    def write(self) -> None:
        """Put the note down; from then on it counts."""
        made = self.folder / self.stage / "note"
        made.write_text(json.dumps([self.stage, self.names, self.gone, self.backward]), encoding="utf-8")
        flush(made)
        os.replace(made, self.path)

    def place(self, name: str) -> Path | None:
        """Where a file is, or will be if it is just on its way."""
        if name in self.gone and not self.backward:
            return None
        staged = self.folder / self.stage / ("old" if self.backward else "new") / name
        return staged if os.path.lexists(staged) else self.folder / name

    def finish(self) -> None:
        """Do what is left to do of the exchange, or of undoing it, and remove the note."""
        for name in () if self.backward else self.gone:
            (self.folder / name).unlink(missing_ok=True)
        for name in (*self.names, *self.gone):
            staged = self.folder / self.stage / ("old" if self.backward else "new") / name
            if os.path.lexists(staged):
                os.replace(staged, self.folder / name)
        flush(self.folder)
        self.path.unlink()
        shutil.rmtree(self.folder / self.stage, ignore_errors=True)

    def take_back(self) -> None:
        """Undo the exchange."""
        for name in self.names:  # first to where a reader of this note looks for the new files
            staged = self.folder / self.stage / "new" / name
            if not os.path.lexists(staged):
                os.replace(self.folder / name, staged)
        undone = Note(self.folder, self.stage, self.names, self.gone, backward=True)
        undone.write()  # from here on the old state counts, so that no crash below loses it
        undone.finish()


@contextlib.contextmanager
def lock(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Keep other writers out of a folder, with the life of the process at most; yields False where that cannot be."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder on Windows
        yield False
        return
    try:
        held = False
        with contextlib.suppress(OSError, AttributeError):  # network file systems have no locks on folders
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        try:
            yield held
        finally:
            if held:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough where a forked process has it, too
    finally:
        os.close(descriptor)


def recover(folder: Path, sure: bool) -> None:
    """Finish the exchange of a process that was killed.

    Args:
        folder: of the files.
        sure: whether a lock says that no process is at it; else it is given time.

    Raises:
        OSError: the note cannot be read, so that nobody knows what it says.
    """
    while os.path.lexists(folder / NOTE):
        note = Note.read(folder)
        if note is None:
            with contextlib.suppress(FileNotFoundError):
                open(folder / NOTE, "rb").close()  # else it may name files that nothing else leads to
            (folder / NOTE).unlink(missing_ok=True)
        elif sure or time.time() - os.lstat(folder / NOTE).st_mtime > _LONGEST_COMMIT:
            note.finish()
        else:
            time.sleep(0.05)


def sweep(folder: Path, sure: bool) -> None:
    """Remove what processes left that were killed while they made new files."""
    for entry in list(os.scandir(folder)):
        if not STAGE.fullmatch(entry.name) or not entry.is_dir(follow_symlinks=False):
            continue
        with contextlib.suppress(OSError):
            with lock(Path(entry.path), wait=False) as free:
                dead = free if sure else time.time() - _last_written(Path(entry.path)) > _LONGEST_WRITE
            if dead:
                shutil.rmtree(entry.path, ignore_errors=True)


def _last_written(folder: Path) -> float:
    """When a folder or anything below it changed last: its own time says nothing of a training that goes on in it."""
    return max(os.lstat(path).st_mtime for path in (folder, *folder.rglob("*")))


def is_leftover(name: str) -> bool:
    """Whether a name in a folder is that of what an interrupted writer left, which the next one removes."""
    return name == NOTE or STAGE.fullmatch(name) is not None


def flush(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    try:
        # Windows flushes only what may be written to; elsewhere that would leave out files that nobody may write to.
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    except PermissionError:  # a folder on Windows, or a file that even its owner may not read
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
