"""Models that come with this package: found by name, without a hub and without a network.

``deberta-zoo/mini`` is a discriminator and the generator that it was trained with. Who predicts words gets the
generator, everybody else the discriminator; with ``-generator`` or ``-discriminator`` at its end the name always gives
that one. A folder of such a path in the working directory is taken instead, as for any name.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePath

NAME = "deberta-zoo/mini"
GENERATOR, DISCRIMINATOR = f"{NAME}-generator", f"{NAME}-discriminator"
NAMES = (NAME, GENERATOR, DISCRIMINATOR)
FOLDER = Path(__file__).parent / "mini"  # each of the two is a checkpoint with its tokenizer, in a folder of this


def is_packaged(path: str | os.PathLike[str]) -> bool:
    """Whether this is the name of a model that comes with the package; ``./`` before it makes a path of a name."""
    name = path if isinstance(path, str) else PurePath(path).as_posix()
    return name in NAMES and not os.path.lexists(path)


def packaged(path: str | os.PathLike[str], *, words: bool = False) -> Path | None:
    """The folder of a model that comes with the package; ``None`` for any other path or name.

    Args:
        path: folder, file or name.
        words: whether it is to predict words.

    Raises:
        FileNotFoundError: this installation lacks it.
        ValueError: the discriminator is to predict words.
    """
    if not is_packaged(path):
        return None
    name = PurePath(path).as_posix()
    if words and name == DISCRIMINATOR:
        raise ValueError(f"{name} tells replaced tokens and predicts no words; {GENERATOR} does, or {NAME} for short")
    folder = FOLDER / ("generator" if words or name == GENERATOR else "discriminator")
    if not folder.is_dir():
        raise FileNotFoundError(
            f"this installation lacks {name}, which belongs in {folder}; install the package again from its checkout "
            "(pip install --force-reinstall --no-deps .), or give another model"
        )
    return folder
