"""Replacing files so that a reader meets the old state or the new one, never half of either; and reading them so.

New files are made in a hidden folder beside the old ones, with names that nobody can guess, and take their place at the
end. Where that takes several renames, a note beside them says from the first moment on which files are the new ones,
whether or not they have their final names yet: a reader that heeds it (``Reading``) has the new state from then on, and
the next writer finishes what a process left that was killed in between. Other programs see at worst the moment between
two renames.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from deberta_core.commits import NOTE, Note, flush, is_leftover, lock, recover, sweep

Result = TypeVar("Result")

_TRIES = 200


class Replacement(contextlib.AbstractContextManager["Replacement"]):
    """New files that take the place of old ones together: one commit. A context manager.

    Leaving the ``with`` statement through an exception, or without ``commit``, leaves the folder as it was. A file
    that takes the place of another has its mode and, where the system lets us, its owner.

    Args:
        folder: of all the files; made with its parents, and removed again if nothing comes of it.

    Raises:
        NotADirectoryError: the folder's place is taken by a file.
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._wanted = ""
        self._names: list[str] = []
        self._stale: list[str] = []
        self._alive = contextlib.ExitStack()
        self._made = _make_folders(folder)
        try:
            self.stage = _make_stage(folder, "new", self._alive)
        except BaseException:
            self._remove_made()
            raise

    def create(self, name: str, *, folder: bool = False) -> Path:
        """Make an empty file that will be called ``name``, and return where to write it now.

        Args:
            name: in the folder; with ``/`` for a file in a folder below, which is made at the end.
            folder: make a folder instead, where there is none yet: a folder is not replaced.

        Raises:
            OSError: it cannot be made.
        """
        path = self.stage / "new" / name
        self._names.append(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            path.mkdir()
            return path
        # Not tempfile's: its files are private to the user, and a model is as readable as any new file. The umask
        # applies by itself; asking for it would mean setting it, for all threads. What replaces a file gets the mode
        # of that at the end, and is private until then.
        mode = 0o600 if os.path.lexists(self.folder / name) else 0o666
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode))
        return path

    def write(self, name: str, content: str | bytes) -> None:
        """Make a file with this content; a text in UTF-8."""
        self.create(name).write_bytes(content.encode("utf-8") if isinstance(content, str) else content)

    def drop(self, names: Sequence[str]) -> None:
        """Let go of files of the old state that the new one does not have."""
        self._stale += names

    def check_space(self, nbytes: int) -> None:
        """Refuse what the disk has no room for.

        Raises:
            OSError: so many bytes are not free.
        """
        self._wanted = f" for {nbytes / 1e9:.2f} GB of weights"
        if shutil.disk_usage(self.folder).free < nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def commit(self) -> list[Path]:
        """Put the new files in place.

        The file created last, such as the index of shards, is out of the way while the others change, so that no
        other program meets it with files that are not its own.

        Returns:
            Paths of the new files, in the order of their creation.

        Raises:
            OSError: a file cannot be replaced; all are then as before.
        """
        gone = [name for name in dict.fromkeys(self._stale) if name not in self._names]
        gone = [name for name in gone if os.path.lexists(self.folder / name)]
        for path in (self.stage / "new").rglob("*"):
            if path.is_file():
                flush(path)
        for name in self._names:
            _adopt(self.stage / "new" / name, self.folder / name)
            self._made += _make_folders((self.folder / name).parent)
        with lock(self.folder) as sure:
            recover(self.folder, sure)
            if len(self._names) == 1 and not gone:  # one step, which needs no way back
                os.replace(self.stage / "new" / self._names[0], self.folder / self._names[0])
            else:
                self._exchange(Note(self.folder, self.stage.name, tuple(self._names), tuple(gone)))
            flush(self.folder)
        self._made = []
        return [self.folder / name for name in self._names]

    def _exchange(self, note: Note) -> None:
        try:
            note.write()
            for name in (*note.gone, *reversed(note.names)):
                if os.path.lexists(self.folder / name):
                    old = self.stage / "old" / name
                    old.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(self.folder / name, old)
            for name in note.names:
                os.replace(self.stage / "new" / name, self.folder / name)
            note.path.unlink()
        except BaseException:
            if os.path.lexists(note.path):
                note.take_back()
            raise

    def _remove_made(self) -> None:
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        note = Note.read(self.folder)
        if note is None or note.stage != self.stage.name:  # else it holds files that are still needed
            shutil.rmtree(self.stage, ignore_errors=True)
        self._alive.close()
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        free = shutil.disk_usage(self.folder).free if full else 0
        self._remove_made()
        if full:
            text = f"no space{self._wanted} ({free / 1e9:.2f} GB are free); nothing was changed"
            raise OSError(errno.ENOSPC, text, os.fspath(self.folder)) from error


@contextlib.contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """A hidden folder inside another one, which is gone when the block ends; after a kill, when the next one begins.

    Args:
        folder: made with its parents if needed.

    Raises:
        OSError: the folder cannot be written to.
    """
    _make_folders(folder)
    with contextlib.ExitStack() as alive:
        stage = _make_stage(folder, "work", alive)
        try:
            yield stage / "work"  # the stage itself is locked, and a writer of files wants the lock of their folder
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def settle(folder: Path) -> list[str]:
    """What a folder holds, once what killed writers left in it is finished or taken away.

    Returns:
        Names; none where there is no folder. What a living writer is making is not among them.
    """
    if not folder.is_dir():
        return []
    _clear(folder)
    return [name for name in os.listdir(folder) if not is_leftover(name)]


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path that becomes ``target`` when the block ends without an error.

    Args:
        target: file to write; its folder is made if needed.

    Raises:
        NotADirectoryError: if the folder's place is taken by a file.
    """
    with Replacement(target.parent) as files:
        yield files.create(target.name)
        files.commit()


def write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``target``, all or nothing."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


class Reading:
    """Looks up files of a folder, and tells afterwards whether all that were found are of one state.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._note = Note.read(folder) if os.path.lexists(folder / NOTE) else None
        self._content: dict[str, bytes] = {}
        self._seen: dict[str, tuple[Path, tuple[int, ...]] | None] = {}

    def find(self, name: str) -> Path | None:
        """Where a file is now, under its name or on the way there; None if there is none."""
        path = self._note.place(name) if self._note else self.folder / name
        seen: tuple[Path, tuple[int, ...]] | None = None
        with contextlib.suppress(OSError, ValueError):  # ValueError: a name with a zero byte
            if path is not None and stat.S_ISREG((status := os.stat(path)).st_mode):
                seen = path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        self._seen.setdefault(name, seen)
        return path if seen else None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None

    def place(self, name: str) -> Path:
        """Where a file is now, or would be if it were there."""
        return self.find(name) or self.folder / name

    def read(self, name: str) -> bytes | None:
        """The content of a file, None if there is none."""
        if name not in self._content and (path := self.find(name)):
            self._content[name] = path.read_bytes()
        return self._content.get(name)

    def stands(self, *, at_its_place: bool = False) -> bool:
        """Whether every name still leads to the file that it led to first.

        Args:
            at_its_place: ask also whether the file has got its final name meanwhile.
        """
        again = Reading(self.folder)
        for name, seen in self._seen.items():
            again.find(name)
            now = again._seen[name]
            if (now and now[1]) != (seen and seen[1]) or (at_its_place and now != seen):
                return False
        return True


def read_together(folder: Path, read: Callable[[Reading], Result], names: Iterable[str] = ()) -> Result:
    """What ``read`` makes of the files of one state; where they were replaced meanwhile, it is called again.

    Args:
        folder: of the files.
        read: looks its files up and opens them; a result that is not used and is a context manager is left again.
        names: files that ``read`` finds by itself, under their names alone; a commit under way is waited for.

    Raises:
        OSError: the folder changes so often that no two looks at it agree.
    """
    for attempt in range(_TRIES):
        if names and os.path.lexists(folder / NOTE):
            _clear(folder)
        reading = Reading(folder)
        for name in names:
            reading.find(name)
        result: Any = None
        try:
            result = read(reading)
        except (OSError, ValueError):  # a file that went away while it was looked for, or was being written
            if reading.stands(at_its_place=True):
                raise
        else:
            if reading.stands(at_its_place=bool(names)):
                return result  # type: ignore[no-any-return]
            if isinstance(result, contextlib.AbstractContextManager):
                result.__exit__(None, None, None)
        time.sleep(min(attempt, 50) / 1000)
    raise OSError(errno.EBUSY, "files keep changing while they are read; try again", os.fspath(folder))


def _make_stage(folder: Path, inside: str, alive: contextlib.ExitStack) -> Path:
    """A folder, with one in it for new files, that others leave alone as long as this process lives."""
    stage = folder / f".deberta-{secrets.token_hex(8)}"
    with lock(folder) as sure:
        recover(folder, sure)
        sweep(folder, sure)
        stage.mkdir()
        try:
            alive.enter_context(lock(stage))
            (stage / inside).mkdir()
        except BaseException:  # a full disk, say
            shutil.rmtree(stage, ignore_errors=True)
            raise
    return stage


def _clear(folder: Path) -> None:
    """Finish commits of killed writers, and remove what others of them left; who may not write leaves all as it is."""
    try:
        with lock(folder) as sure:
            recover(folder, sure)
            sweep(folder, sure)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def _adopt(new: Path, old: Path) -> None:
    """Give a file the mode and the owner of the one that it is to replace."""
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(old)
        if stat.S_ISREG(status.st_mode):
            with contextlib.suppress(OSError, AttributeError):  # only the superuser gives files away
                os.chown(new, status.st_uid, status.st_gid)
            new.chmod(stat.S_IMODE(status.st_mode))
        elif new.is_file():  # a link, say, whose mode says nothing
            new.chmod(stat.S_IMODE(new.parent.stat().st_mode) & 0o666)


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and its parents; returns those that were made."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()][::-1]
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"cannot write into {folder}: it is a file, expected a folder")
    made: list[Path] = []
    try:
        for one in missing:
            with contextlib.suppress(FileExistsError):  # made by another process just now
                one.mkdir()
                made.append(one)
    except OSError as error:
        for one in reversed(made):
            one.rmdir()
        raise OSError(error.errno, f"the target cannot be written ({error.strerror})", os.fspath(folder)) from None
    return made
