"""Fetching a repository's files into the cache that all users of ``huggingface_hub`` share."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
import warnings
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Self, TypeVar

from deberta_core.file_names import TOKENIZER_FILES, Choose
from deberta_core.hub.errors import PUT, SECRET, cause_of, is_final, sentence, status_of, without_secrets
from deberta_core.packaged import NAMES, packaged

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILE_ENDS = (".safetensors", ".bin", ".h5", ".json", ".model", ".index", ".txt")
ATTEMPTS = 4
LONGEST_WAIT = 30.0  # seconds between two attempts, whatever the hub asks for
OLD_OPTIONS = ("resume_download", "proxies", "mirror", "trust_remote_code", "code_revision")  # nothing depends on them

Result = TypeVar("Result")


class _LackingError(FileNotFoundError):
    """A repository that was reached and does not hold what is needed."""


@dataclass(frozen=True)
class HubOptions:
    """How to fetch what is not there.

    Attributes:
        revision: branch, tag or commit; default the main branch.
        token: of a user who may read the repository; default the one that is logged in or in ``HF_TOKEN``. ``False``:
            none.
        cache_dir: where fetched files are kept; default that of ``huggingface_hub`` (``HF_HOME``).
        local_files_only: take what was fetched before and ask nobody, as with ``HF_HUB_OFFLINE=1``.
        force_download: fetch even what is in the cache.
    """

    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)  # never in a text
    cache_dir: str | os.PathLike[str] | None = None
    local_files_only: bool = False
    force_download: bool = False

    @classmethod
    def take(cls, options: MutableMapping[str, Any]) -> Self:
        """Move these options out of a call's keywords; those of old scripts are dropped."""
        for name in OLD_OPTIONS:
            options.pop(name, None)
        old_token = options.pop("use_auth_token", None)
        given = {name: options.pop(name) for name in cls.__dataclass_fields__ if name in options}
        for name, value in options.items():  # a config would keep it as a field of the user's own, and write it down
            if isinstance(value, str) and SECRET.fullmatch(value):
                raise TypeError(f"{name!r} holds a token of a hub; pass it as token=...")
        return cls(**{"token": old_token, **given})

    @property
    def offline(self) -> bool:
        """Whether nobody may be asked."""
        return self.local_files_only or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


# All keywords that ``HubOptions.take`` takes.
HUB_KEYWORDS = (*HubOptions.__dataclass_fields__, "use_auth_token", *OLD_OPTIONS)


def is_name(path: str | os.PathLike[str]) -> bool:
    """Whether a path that is not there can be a name on a hub: owner, slash, model."""
    text = os.fspath(path)
    return bool(NAME.fullmatch(text)) and not text.endswith(FILE_ENDS)


def find(
    path: str | os.PathLike[str], choose: Choose, *, subfolder: str = "", options: HubOptions | None = None,
    words: bool = False,
) -> Path:  # fmt: skip
    """A path as it is, or the folder of a name: in this package, or one that its files were fetched into.

    Args:
        path: folder, file or name. A path that is not there and cannot be a name is returned, for the caller to refuse.
        choose: which files are needed, given those that there are (in ``subfolder``).
        subfolder: folder in the repository; the caller goes on with it.
        options: how to fetch.
        words: whether words are to be predicted; see ``deberta_core.packaged``.

    Raises:
        FileNotFoundError: an address, or a name whose files cannot be had; the text says why, and where to put them.
        ValueError: another part or state of what comes with the package.
    """
    if re.match(r"https?:/", os.fspath(path)):
        said = "is an address, expected a folder, or a name on the hub such as microsoft/deberta-v3-base"
        raise FileNotFoundError(f"{without_secrets(os.fspath(path))} {said}")
    if (folder := packaged(path, words=words)) is not None:
        asked = {"revision": options and options.revision, "subfolder": subfolder}
        if given := [f"{name}={value!r}" for name, value in asked.items() if value]:
            raise ValueError(f"{os.fspath(path)} comes with this package, as it is; leave {' and '.join(given)} out")
        return folder
    found = Path(path)
    if os.path.lexists(path):
        return found
    if not is_name(path):
        # A Path drops the ./ that made a path of a name, and whoever looks again would take it for one.
        return found.absolute() if is_name(found) else found
    try:
        return fetch(os.fspath(path), choose, subfolder=subfolder, options=options)
    except FileNotFoundError as error:
        if os.fspath(path).partition("/")[0].lower() != NAMES[0].partition("/")[0]:
            raise
        raise FileNotFoundError(f"{error}; with this package come {', '.join(NAMES)}") from error


def fetch(name: str, choose: Choose, *, subfolder: str = "", options: HubOptions | None = None) -> Path:
    """Fetch files of a repository; transfers that were cut go on where they stopped.

    Args:
        name: of the repository, such as ``microsoft/deberta-v3-base``.
        choose: which files are needed, given those that there are (in ``subfolder``).
        subfolder: folder in the repository.
        options: how to fetch.

    Returns:
        The folder of the revision in the cache.

    Raises:
        FileNotFoundError: they cannot be had; the text says why, and where to put them.
    """
    options = options or HubOptions()
    inside = subfolder.strip("/") + "/" if subfolder.strip("/") else ""
    reason = "HF_HUB_OFFLINE or local_files_only is set"
    hub = _package(name)
    if not options.offline:
        try:
            return _download(hub, name, choose, inside, options)
        except _LackingError:
            raise
        except Exception as error:  # of several packages, which differ between releases of the hub's
            reason = sentence(error, name, options.revision, options.token)
            if is_final(error):
                raise FileNotFoundError(reason) from cause_of(error, options.token)
    folder = _cached(hub, name, choose, inside, options)
    if folder is None and options.offline:
        at = "" if options.revision is None else f" at revision {options.revision!r}"
        where = inside + " of " if inside else ""
        raise FileNotFoundError(
            f"there is no folder {name!r}, and {where}{name!r}{at} was not fetched before while {reason}; go online "
            f"once, {PUT}"
        )
    if folder is None:
        raise FileNotFoundError(reason)
    if not options.offline:
        warnings.warn(f"{reason}; taking what was fetched before", stacklevel=6)
    return folder


def _package(name: str) -> ModuleType:
    try:
        import huggingface_hub
    except ImportError:
        raise FileNotFoundError(
            f"there is no folder {name!r}, and fetching it by name needs a package: pip install huggingface_hub, {PUT}"
        ) from None
    return huggingface_hub


def _download(hub: ModuleType, name: str, choose: Choose, inside: str, options: HubOptions) -> Path:
    endpoint = os.environ.get("HF_ENDPOINT")
    api = hub.HfApi(endpoint=endpoint, token=options.token, library_name="deberta")
    info = _patiently(partial(api.model_info, name, revision=options.revision), transfer=False)
    there = [file.rfilename for file in info.siblings or ()]
    wanted = choose({file.removeprefix(inside) for file in there if file.startswith(inside)})
    if not wanted:
        shown = ", ".join(sorted(there)[:12]) or "nothing"
        where = f" in its folder {inside!r}" if inside else ""
        raise _LackingError(f"{name!r} on the hub does not hold the files that are needed{where}; it has {shown}")
    commit = options.revision  # the first file settles which commit that is, and the others are of the same
    root = Path()
    for file in wanted:
        get = partial(
            hub.hf_hub_download, name, inside + file, revision=commit, token=options.token, endpoint=endpoint,
            cache_dir=options.cache_dir, force_download=options.force_download, library_name="deberta",
        )  # fmt: skip
        path = _patiently(get, transfer=True)
        root = Path(path).parents[inside.count("/") + file.count("/")]
        commit = root.name
        with contextlib.suppress(OSError):  # a cache that others keep may be read-only
            _part(root).touch() if file != wanted[-1] else _part(root).unlink(missing_ok=True)
    return root


def _part(root: Path) -> Path:
    """A file that is there while a revision has been fetched in part: offline, nobody can tell what it lacks."""
    return root.parents[1] / f".part-{root.name}"


def _cached(hub: ModuleType, name: str, choose: Choose, inside: str, options: HubOptions) -> Path | None:
    """The folder of a revision in the cache, if all that is needed lies there."""
    for file in ("config.json", "generator_config.json", *TOKENIZER_FILES):
        path = hub.try_to_load_from_cache(name, inside + file, cache_dir=options.cache_dir, revision=options.revision)
        if isinstance(path, str):
            root = Path(path).parents[inside.count("/")]
            names = [entry.relative_to(root / inside).as_posix() for entry in (root / inside).rglob("*")]
            return root if choose(names) and not _part(root).exists() else None
    return None


def _patiently(call: Callable[[], Result], *, transfer: bool) -> Result:
    """Ask again where that may help.

    Args:
        call: what to do; a transfer goes on where it was cut.
        transfer: whether an error without an answer is a cut connection, rather than no connection.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except Exception as error:
            status = status_of(error)
            again = transfer if status is None else status in (408, 429, 500, 502, 503, 504)
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            if attempt == ATTEMPTS or not again or full or is_final(error):
                raise
            time.sleep(_wait(error, 2.0 ** (attempt - 1)))
    raise AssertionError("unreachable")


def _wait(error: Exception, default: float) -> float:
    """Seconds until the next attempt: those that the server asks for, within reason."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    asked = str(headers.get("Retry-After", ""))
    return min(float(asked), LONGEST_WAIT) if asked.isdigit() else min(default, LONGEST_WAIT)
