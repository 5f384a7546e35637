"""The target folder: complete or not there at all, and what is carried into it beside the weights."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from conversion.side_file import SIDE_FILE

_WEIGHTS = re.compile(
    r"""(
    pytorch_model(-\d{5}-of-\d{5})?\.bin | model(-\d{5}-of-\d{5})?\.safetensors | tf_model(-\d{5}-of-\d{5})?\.h5
    | (pytorch_model\.bin|model\.safetensors|tf_model\.h5)\.index\.json
    | flax_model.*\.msgpack | rust_model\.ot | .*\.weights\.h5 | checkpoint | .*\.data-\d{5}-of-\d{5} | .*\.index
    )""",
    re.VERBOSE,
)
_NOT_CARRIED = frozenset({".git", ".cache", ".ipynb_checkpoints", "__pycache__", SIDE_FILE})
# What goes with a weights file that is given by itself: its folder may hold anything.
_COMPANIONS = frozenset({
    "vocab.json", "merges.txt", "vocab.txt", "bpe_encoder.bin", "spm.model", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "generation_config.json", "README.md", "LICENSE",
})  # fmt: skip


def is_weights_name(name: str) -> bool:
    """Whether a file is, by its name, a model's weights in some format, or part of them."""
    return _WEIGHTS.fullmatch(name) is not None


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
) -> tuple[list[Extra], list[tuple[str, str]]]:
    """The files to carry, and those that stay behind with the reason.

    Args:
        folder: of the weights.
        whole: everything in it, or only what usually goes with weights.
        weights: files that are converted.
        skip: the target, which may lie inside.
    """
    extras: list[Extra] = []
    left: list[tuple[str, str]] = []
    for path in sorted(folder.rglob("*") if whole else folder.iterdir()):
        name = path.relative_to(folder).as_posix()
        if path in weights or skip in (path, *path.parents) or set(path.relative_to(folder).parts) & _NOT_CARRIED:
            continue
        if path.is_dir() and not path.is_symlink():
            continue
        if not whole and name not in _COMPANIONS:
            continue
        if path.parent == folder and is_weights_name(name):
            left.append((name, "weights of a format of their own"))
        elif reason := _why_not(path):
            left.append((name, reason))
        else:
            extras.append(Extra(path, name, path.stat().st_size))
    return extras, left


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
            the source has them too.

    Raises:
        FileExistsError: the folder holds something, and ``overwrite`` is not given.
        NotADirectoryError: the path is a file, or looks like the name of one.
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool) -> None:
        self.shown = Path(path)
        self.path = Path(os.path.realpath(path))
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"the target {path} is a file, expected a folder")
        if not self.path.exists() and self.path.suffix in (".h5", ".bin", ".safetensors", ".json"):
            raise NotADirectoryError(f"the target {path} looks like a file, expected the name of a folder")
        if self.path.is_dir() and any(self.path.iterdir()) and not overwrite:
            raise FileExistsError(
                f"the target folder {path} is not empty; choose another one, or pass overwrite=True (--overwrite)"
            )

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

    @contextlib.contextmanager
    def building(self, needed: int) -> Iterator[Path]:
        """A temporary folder beside the target, which takes its place when the block ends without an error.

        Args:
            needed: bytes that will be written into it.

        Raises:
            OSError: no space, or the place cannot be written to; the target is then as it was.
        """
        made = self._make_parents()
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}-{secrets.token_hex(4)}.new")
        try:
            try:
                temporary.mkdir()
            except OSError as error:
                text = f"the target cannot be written ({error.strerror})"
                raise OSError(error.errno, text, os.fspath(self.shown)) from None
            self._check_space(needed)
            yield temporary
            self._keep_others(temporary)
            self._swap(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            for folder in reversed(made):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise

    def _make_parents(self) -> list[Path]:
        missing = [folder for folder in self.path.parents if not folder.exists()][::-1]
        for number, folder in enumerate(missing):
            try:
                folder.mkdir()
            except OSError:
                for done in reversed(missing[:number]):
                    done.rmdir()
                raise
        return missing

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if free < needed:
            text = f"no space for {needed / 1e9:.2f} GB ({free / 1e9:.2f} GB are free); nothing was changed"
            raise OSError(errno.ENOSPC, text, os.fspath(self.path.parent))

    def _keep_others(self, temporary: Path) -> None:
        """Give the new folder the files of the old one that it does not have, but no weights."""
        if not self.path.is_dir():
            return
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path)
            new = temporary / name
            weights = len(name.parts) == 1 and (is_weights_name(name.name) or name.name == SIDE_FILE)
            if weights or os.path.lexists(new):
                continue
            if path.is_symlink():
                new.symlink_to(os.readlink(path))
            elif path.is_dir():
                new.mkdir()
            else:
                _link_or_copy(path, new)

    def _swap(self, temporary: Path) -> None:
        if not self.path.exists():
            os.rename(temporary, self.path)
            return
        shutil.copymode(self.path, temporary)
        old = temporary.with_suffix(".old")
        os.rename(self.path, old)
        try:
            os.rename(temporary, self.path)
        except BaseException:
            os.rename(old, self.path)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _link_or_copy(path: Path, new: Path) -> None:
    """The same file in another folder; a second name for it costs no space."""
    try:
        os.link(path, new, follow_symlinks=False)
    except OSError:
        shutil.copy2(path, new)


def carry(extras: list[Extra], folder: Path) -> None:
    """Copy files into a folder that does not have them yet."""
    for extra in extras:
        new = folder / extra.name
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(extra.path, new)
        shutil.copymode(extra.path, new)
