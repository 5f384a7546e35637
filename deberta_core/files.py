"""Writing files so that a reader meets the old state or the new one, never half of either."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that becomes ``target`` when the block ends without an error.

    Args:
        target: file to write; its folder is made if needed.

    Raises:
        NotADirectoryError: if the folder's place is taken by a file.
    """
    if target.parent.exists() and not target.parent.is_dir():
        raise NotADirectoryError(f"cannot write {target.name}: {target.parent} is a file, expected a folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner can read
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``target``, all or nothing."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
