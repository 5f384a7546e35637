"""The target folder, and what is carried into it beside the weights."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from conversion.side_file import SIDE_FILE
from deberta_core.file_names import BESIDE, TOKENIZER_FILES, is_weights_name
from deberta_core.files import Replacement, settle

# What goes with a weights file that is given by itself: its folder may hold anything.
_COMPANIONS = {*TOKENIZER_FILES, *BESIDE, "spiece.model", "sentencepiece.bpe.model"}


@dataclass(frozen=True)
class Extra:
    """A file beside the weights that goes along.

    Attributes:
        path: where it is.
        name: its path in the target, relative to the folder.
        size: bytes.
    """

    path: Path
    name: str
    size: int


def find_extras(
    folder: Path, *, whole: bool, weights: Collection[Path], skip: Path
) -> tuple[list[Extra], dict[str, str]]:
    """The files to carry, and those that stay behind with the reason.

    Args:
        folder: of the weights.
        whole: everything in it, or only what usually goes with weights.
        weights: files that are converted.
        skip: the target, which may lie inside, without links in its path.
    """
    extras: list[Extra] = []
    left: dict[str, str] = {}
    real = Path(os.path.realpath(folder))
    for path in _files(folder, deep=whole):
        name = path.relative_to(folder).as_posix()
        if path in weights or name == SIDE_FILE or skip in (real / name).parents:
            continue
        if not whole and name not in _COMPANIONS:
            continue
        if path.name.startswith("."):
            left[name] = "a hidden file"
        elif path.parent == folder and is_weights_name(name):
            left[name] = "weights of a format of their own"
        elif reason := _why_not(path):
            left[name] = reason
        else:
            extras.append(Extra(path, name, path.stat().st_size))
    return extras, left


def _files(folder: Path, *, deep: bool) -> Iterator[Path]:
    """What is in a folder, without the content of hidden folders, which are those of other programs."""
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.is_symlink():
            yield path
        elif deep and not path.name.startswith(".") and path.name != "__pycache__":
            yield from _files(path, deep=True)


def _why_not(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if stat.S_ISDIR(mode):
        return "a link to a folder"
    return "" if stat.S_ISREG(mode) else "not a regular file"


class Target:
    """The folder to write.

    Args:
        path: as given; a link to a folder stays a link.
        overwrite: take the place of what is there: weights of any format are replaced, other files are kept unless
            the source has them too. ``None`` where the caller offers no such thing.

    Raises:
        FileExistsError: the folder holds something, and ``overwrite`` is not true.
        NotADirectoryError: the path is a file, or looks like the name of one.
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool | None) -> None:
        self.shown = Path(path)
        self.path = Path(os.path.realpath(path))  # where a link leads: that folder's content is replaced, not the link
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"the target {path} is a file, expected a folder")
        if not self.path.exists() and self.path.suffix in (".h5", ".bin", ".safetensors", ".json"):
            raise NotADirectoryError(f"the target {path} looks like a file, expected the name of a folder")
        if not overwrite and settle(self.path):
            other = "" if overwrite is None else ", or pass overwrite=True (--overwrite)"
            raise FileExistsError(f"the target folder {path} is not empty; choose another one{other}")

    def refuse_source(self, source: Path) -> None:
        """Refuse a target that is the source, or that has it inside.

        Args:
            source: the weights that are to be read.

        Raises:
            ValueError: if writing would destroy what is read.
        """
        places = {source.absolute(), Path(os.path.realpath(source))}
        if self.path in {place.parent for place in places}:
            raise ValueError(f"source and target are the same folder, {self.shown}; choose another target")
        if any(self.path in place.parents for place in places):
            raise ValueError(f"the source {source} lies inside the target {self.shown}; choose another target")

    def drop_weights(self, files: Replacement) -> None:
        """Let a commit into the folder replace all weights that it holds, of any format."""
        files.drop([name for name in os.listdir(self.path) if is_weights_name(name) or name == SIDE_FILE])


def carry(extras: list[Extra], files: Replacement) -> None:
    """Copy files into a commit."""
    for extra in extras:
        new = files.create(extra.name)
        shutil.copyfile(extra.path, new)
        shutil.copymode(extra.path, new)
