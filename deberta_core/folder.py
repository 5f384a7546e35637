"""A checkpoint's folder: its config and weights, each opened once, all of one state, and handed on from here.

Importing this needs neither NumPy nor a format's library: configs and tokenizers do without.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deberta_core.file_names import (
    CONFIG,
    GENERATOR_CONFIG,
    GENERATOR_WEIGHTS,
    Choose,
    config_files,
    generator_files,
    model_files,
)
from deberta_core.files import Reading, read_together
from deberta_core.hub.fetching import HubOptions, find
from deberta_core.packaged import is_packaged

if TYPE_CHECKING:
    from deberta_core.checkpoint import TensorFile

WORDS = "ForMaskedLM"  # the head that predicts them


@dataclass
class Folder(AbstractContextManager["Folder"]):
    """An open checkpoint. A context manager.

    Attributes:
        given: what it was asked for by: a path, or a name on the hub.
        path: where it is.
        config_file: where its config is.
        config: entries of that.
        weights: its tensors.
    """

    given: str
    path: Path
    config_file: Path
    config: Mapping[str, Any]
    weights: TensorFile

    def __exit__(self, *_: object) -> None:
        self.weights.close()


def open_folder(
    path: str | os.PathLike[str] | Folder, options: MutableMapping[str, Any], known: Sequence[str], head: str
) -> Folder:
    """Open a checkpoint for a model to be made of it.

    Args:
        path: folder, or a name on the hub; or one that is open already.
        options: keywords of ``from_pretrained``. Those that say where and how to look are taken out: ``subfolder``,
            ``generator``, ``variant``, ``from_tf`` or ``from_pt``, ``use_safetensors``, and the fields of
            ``HubOptions``. With ``config`` among them the folder needs none.
        known: formats, best first, of the framework.
        head: of the model, a key of ``deberta_core.heads.HEADS``.

    Raises:
        FileNotFoundError: config or weights are not there.
        ValueError: the config is no json, or the weights are damaged.
    """
    subfolder, generator = str(options.pop("subfolder", "")), bool(options.pop("generator", False))
    variant = options.pop("variant", None)
    foreign = [options.pop(name, False) for name in ("from_tf", "from_pt")]
    safetensors = options.pop("use_safetensors", None)
    if isinstance(path, Folder):
        return path
    asked = os.fspath(path)
    # Asked for the other framework's file, a tree takes no other: PyTorch's takes h5, TensorFlow's all but h5.
    wanted = [f for f in known if not any(foreign) or (f == "h5") == (known[0] != "h5")]
    prefer = [f for f in wanted if safetensors is None or (f == "safetensors") == safetensors]
    given = options.get("config")
    words = generator or head == WORDS
    generator = generator and not is_packaged(path)  # whose generator has a folder of its own
    where = locate(path, options, model_files(prefer, generator=generator, variant=variant), subfolder, words=words)

    def read(reading: Reading) -> Folder:
        from deberta_core.checkpoint.weights import choose_weights, open_one

        config_name, name = _generator_names(reading) if generator else (CONFIG, None)
        config = {} if given is not None else read_json(reading, config_name)
        weights = open_one(reading, name or choose_weights(reading, prefer, variant))
        return Folder(asked, reading.folder, reading.folder / config_name, config, weights)

    return read_together(where, read)


def open_in_memory(
    path: str | os.PathLike[str] | Folder | None, options: MutableMapping[str, Any], weights: TensorFile, head: str
) -> Folder:
    """As ``open_folder``, with weights that are not read from there.

    Args:
        path: of the config; not looked at with ``config`` among the options.
        options: as of ``open_folder``.
        weights: the tensors.
        head: as of ``open_folder``.
    """
    subfolder = str(options.pop("subfolder", ""))
    for name in ("generator", "variant", "from_tf", "from_pt", "use_safetensors"):
        options.pop(name, None)
    if isinstance(path, Folder):
        return replace(path, weights=weights)
    if options.get("config") is not None or path is None:
        HubOptions.take(options)
        return Folder("", Path(), Path(), {}, weights)
    config, file = read_config(path, options, subfolder, words=head == WORDS)
    return Folder(os.fspath(path), file.parent, file, config, weights)


def read_config(
    path: str | os.PathLike[str], options: MutableMapping[str, Any], subfolder: str = "", *, words: bool = False
) -> tuple[dict[str, Any], Path]:
    """The entries of a ``config.json``, and where it is.

    Args:
        path: the file, its folder, or a name on the hub.
        options: hub options are taken out.
        subfolder: folder below ``path``.
        words: as of ``locate``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no json, or something else than named settings.
    """
    where = locate(path, options, config_files, subfolder, words=words)
    folder, name = (where, CONFIG) if where.is_dir() else (where.parent, where.name)
    return read_together(folder, lambda reading: read_json(reading, name)), folder / name


def read_json(reading: Reading, name: str) -> dict[str, Any]:
    """The entries of a config; raises as ``read_config``."""
    file, content = reading.folder / name, reading.read(name)
    if content is None:
        raise FileNotFoundError(
            f"no {CONFIG} at {file}; expected a folder that holds one, or a name such as microsoft/deberta-v3-base"
        )
    try:
        values = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not valid json: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{file} holds a {type(values).__name__}, expected an object of named settings")
    return values


def generator_paths(path: str | os.PathLike[str], subfolder: str = "") -> tuple[Path, Path]:
    """Config and weights of the generator that a discriminator's folder holds.

    Raises:
        FileNotFoundError: if there is none; the text says what was looked for.
    """
    reading = Reading(Path(path) / subfolder)
    config, weights = _generator_names(reading)
    return reading.folder / config, reading.folder / weights


def _generator_names(reading: Reading) -> list[str]:
    if not (found := generator_files(reading)):
        looked = f"{GENERATOR_CONFIG} and {' or '.join(GENERATOR_WEIGHTS)}"
        raise FileNotFoundError(f"no generator in {reading.folder}: looked for {looked}")
    return found


def locate(
    path: str | os.PathLike[str], options: MutableMapping[str, Any], choose: Choose, subfolder: str, *,
    words: bool = False,
) -> Path:  # fmt: skip
    """The folder or file of a path; of a name, the folder into which the files that ``choose`` wants were fetched.

    Args:
        path: folder, file or name.
        options: hub options are taken out.
        choose: see ``deberta_core.file_names``.
        subfolder: folder below ``path``.
        words: whether words are to be predicted; see ``deberta_core.packaged``.

    Raises:
        FileNotFoundError: a name's files cannot be had.
        ValueError: another part or state of what comes with the package.
    """
    hub = HubOptions.take(options)
    if not os.path.lexists(path):
        path = find(path, choose, subfolder=subfolder, options=hub, words=words)
    return Path(path) / subfolder
